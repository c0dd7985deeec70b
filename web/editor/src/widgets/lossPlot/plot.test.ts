import fc from "fast-check";
import { expect, test } from "vitest";
import { path, place, scaleOf, smooth, ticks } from "./plot";

test("ticks are round and inside", () => {
  expect(ticks({ low: 0, high: 1, log: false })).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks({ low: 0.01, high: 5, log: true })).toEqual([0.01, 0.1, 1]);
  fc.assert(
    fc.property(
      fc.double({ min: -1e5, max: 1e5, noNaN: true }),
      fc.double({ min: 1e-3, max: 1e5, noNaN: true }),
      (low, range) => {
        const found = ticks({ low, high: low + range, log: false });
        expect(found.length).toBeLessThan(12);
        for (const tick of found) expect(tick).toBeGreaterThanOrEqual(low - 1e-6);
      },
    ),
  );
});

test("a log scale leaves out what has no logarithm", () => {
  const y = scaleOf([0, 0.1, 10], true);
  expect(place(1, y)).toBeCloseTo(0.5);
  expect(place(0, y)).toBeNull();
  expect(
    path(
      [
        [0, 0.1],
        [1, 0],
        [2, 10],
      ],
      { low: 0, high: 2, log: false },
      y,
      100,
      50,
    ),
  ).toBe("M0.0 50.0M100.0 0.0");
});

test("smoothing starts at the first value and keeps a constant", () => {
  expect(
    smooth(
      [
        [0, 3],
        [1, 3],
        [2, 3],
      ],
      0.9,
    ).map(([, y]) => Number(y.toFixed(6))),
  ).toEqual([3, 3, 3]);
  expect(
    smooth(
      [
        [0, 1],
        [1, 2],
      ],
      0,
    ),
  ).toEqual([
    [0, 1],
    [1, 2],
  ]);
});

test("one value alone can be shown", () => {
  expect(place(2, scaleOf([2], false))).toBe(0.5);
});
