import { expect, test } from "vitest";
import { heatColor, heatOf, readAttention, strongest } from "./heat";

test("what a node said is read; anything else is none", () => {
  const said = { words: ["a"], grids: [{ size: "2x1", width: 2, height: 1, peaks: [0.5] }], picture: false };
  expect(readAttention(JSON.stringify(said))).toEqual(said);
  for (const text of ["", "[]", '{"words":[]}', JSON.stringify({ ...said, grids: [] })])
    expect(readAttention(text)).toBeNull();
});

test("the word that is looked at most is shown first", () => {
  expect(strongest([0.1, 0.3, 0.9, 0.2])).toBe(2);
  expect(strongest([0, 0])).toBe(0);
  expect(strongest([])).toBe(0);
});

test("more attention is brighter", () => {
  const luma = [0, 0.2, 0.4, 0.6, 0.8, 1, 2].map((v) => {
    const [red, green, blue] = heatColor(v);
    return 0.299 * red + 0.587 * green + 0.114 * blue;
  });
  expect(luma).toEqual([...luma].sort((a, b) => a - b));
});

test("one word's map is cut out of the strip", () => {
  const grey = (v: number) => [v, v, v, 255];
  const strip = new Uint8ClampedArray([0, 255, 255, 0, 0, 0, 255, 255].flatMap(grey)); // two rows, two words, 2 x 2
  const size = { width: 2, height: 2 };
  const red = (place: number, factor = 1) =>
    [...heatOf(strip, 2, place, size, factor)].filter((_, at) => at % 4 === 0);
  const [cold, hot] = [heatColor(0)[0], heatColor(1)[0]];
  expect(red(0)).toEqual([cold, hot, cold, cold]);
  expect(red(1)).toEqual([hot, cold, hot, hot]);
  expect(red(1, 0)).toEqual([cold, cold, cold, cold]);
});
