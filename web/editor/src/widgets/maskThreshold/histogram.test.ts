import { expect, test } from "vitest";
import { above, histogram } from "./histogram";

test("what lies above a threshold is counted", () => {
  const grey = (v: number) => [v, v, v, 255];
  const counts = histogram(new Uint8ClampedArray([...grey(0), ...grey(127), ...grey(200), ...grey(255)]));
  expect(counts.reduce((a, b) => a + b)).toBe(4);
  expect(above(counts, 0)).toBe(1);
  expect(above(counts, 0.75)).toBe(0.5);
  expect(above([], 0.5)).toBe(0);
});
