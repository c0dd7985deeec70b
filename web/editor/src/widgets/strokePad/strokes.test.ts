import fc from "fast-check";
import { expect, test } from "vitest";
import { readStrokes, thinned, writeStrokes } from "./strokes";

test("strokes are read as they were written, from an object or a list", () => {
  const strokes = [
    {
      points: [
        [0, 0],
        [0.5, 0.25],
      ] as const,
      color: "#00ff00",
      width: 12,
    },
  ];
  expect(readStrokes(writeStrokes(strokes))).toEqual(strokes);
  expect(readStrokes([{ points: [[0, 0]] }])).toEqual([{ points: [[0, 0]], color: "#ff0000", width: 8 }]);
  expect(readStrokes({ strokes: [{ points: [] }, 3, { points: [["a", 1]] }] })).toEqual([]);
});

test("thinning keeps both ends and what the server allows", () => {
  const coordinate = fc.double({ min: -5, max: 5, noNaN: true });
  fc.assert(
    fc.property(fc.array(fc.tuple(coordinate, coordinate), { minLength: 1, maxLength: 50 }), (points) => {
      const few = thinned(points);
      expect(few.length).toBeLessThanOrEqual(points.length);
      expect(few.length).toBeGreaterThan(0);
      for (const value of few.flat()) expect(Math.abs(value - 0.5)).toBeLessThanOrEqual(1.5);
    }),
  );
});
