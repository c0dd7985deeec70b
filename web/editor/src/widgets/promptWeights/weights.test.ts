import { expect, test } from "vitest";
import { chips, readWeights, writeWeights } from "./weights";

test("words that lost their place in the prompt stay visible", () => {
  expect(chips("a red, red car", { snow: 2, red: 0.5 })).toEqual([
    { word: "a", weight: 1, gone: false },
    { word: "red", weight: 0.5, gone: false },
    { word: "car", weight: 1, gone: false },
    { word: "snow", weight: 2, gone: true },
  ]);
});

test("weights come back in the form they had", () => {
  expect(readWeights(writeWeights({ a: 2, b: 1 }, true))).toEqual({ a: 2 });
  expect(writeWeights({ a: 2 }, false)).toEqual({ a: 2 });
  expect(readWeights("{")).toEqual({});
  expect(readWeights([1])).toEqual({});
});
