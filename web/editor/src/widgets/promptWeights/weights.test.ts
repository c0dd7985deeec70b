import { expect, test } from "vitest";
import { chips, readWeights, writeWeights } from "./weights";

test("words that lost their place in the prompt stay visible", () => {
  expect(chips("a red, red car", { snow: 2, red: 0.5 })).toEqual([
    { word: "a", weight: 1, gone: false, tokens: ["a"] },
    { word: "red", weight: 0.5, gone: false, tokens: ["red"] },
    { word: "car", weight: 1, gone: false, tokens: ["car"] },
    { word: "snow", weight: 2, gone: true, tokens: [] },
  ]);
});

test("the tokenizer's words take the place of ours; marks get no slider", () => {
  const read = [
    { text: "photorealistic", tokens: ["photo", "realistic"] },
    { text: ",", tokens: [","] },
    { text: "été", tokens: ["été"] },
  ];
  expect(chips("(photorealistic:1.2), été", {}, read)).toEqual([
    { word: "photorealistic", weight: 1, gone: false, tokens: ["photo", "realistic"] },
    { word: "été", weight: 1, gone: false, tokens: ["été"] },
  ]);
});

test("a phrase of the prompt is not gone, and letters may be large or small", () => {
  const told = chips("A red car", readWeights({ Car: 2, "red car": 1.5 }));
  expect(told.map(({ word, weight, gone }) => [word, weight, gone])).toEqual([
    ["a", 1, false],
    ["red", 1, false],
    ["car", 2, false],
    ["red car", 1.5, false],
  ]);
});

test("weights come back in the form they had", () => {
  expect(readWeights(writeWeights({ a: 2, b: 1 }, true))).toEqual({ a: 2 });
  expect(writeWeights({ a: 2 }, false)).toEqual({ a: 2 });
  expect(readWeights("{")).toEqual({});
  expect(readWeights([1])).toEqual({});
});
