import { expect, test } from "vitest";
import { words } from "./diff";
import { listed } from "./listed";

test("each word of the prompt has one line; phrases, and words that left it, have theirs below", () => {
  const told = listed(words("A bus, a beach and a T-shirt"), [
    "Bus",
    "a beach",
    "t - shirt",
    "car",
    "red car",
  ]);
  expect(told).toEqual([
    ...["a", "bus", "beach", "and", "t-shirt", "a beach", "t - shirt"].map((word) => ({ word, gone: false })),
    ...["car", "red car"].map((word) => ({ word, gone: true })),
  ]);
});

test("a phrase does not begin or end inside a word", () => {
  expect(listed(["redcar", "pet"], ["red", "car pet"])).toContainEqual({ word: "red", gone: true });
  expect(listed(["car", "pet"], ["carpet"])).toContainEqual({ word: "carpet", gone: false });
  expect(listed([], [""])).toEqual([{ word: "", gone: true }]);
});
