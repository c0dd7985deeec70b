import fc from "fast-check";
import { expect, test } from "vitest";
import { between, moved, painted, readRegions, resized, writeRegions } from "./boxes";

const unit = fc.double({ min: -1, max: 2, noNaN: true });
const point = fc.record({ x: unit, y: unit });

test("whatever is drawn and dragged stays inside the picture", () => {
  fc.assert(
    fc.property(point, point, point, point, (a, b, move, size) => {
      const box = resized(moved(between(a, b), move.x, move.y), size.x, size.y);
      for (const value of [box.x, box.y]) expect(value).toBeGreaterThanOrEqual(0);
      expect(box.x + box.width).toBeLessThanOrEqual(1 + 1e-9);
      expect(box.y + box.height).toBeLessThanOrEqual(1 + 1e-9);
      expect(Math.min(box.width, box.height)).toBeGreaterThan(0);
    }),
  );
});

test("boxes are read as they were written, and nothing else is", () => {
  const boxes = [{ x: 0.1, y: 0.2, width: 0.3, height: 0.4, text: "a boat" }, painted("abc", "the sea")];
  expect(readRegions(writeRegions(boxes))).toEqual(boxes);
  expect(readRegions([1, null, { x: 0 }, { x: "0", y: 0, width: 1, height: 1 }])).toEqual([]);
  expect(readRegions("x")).toEqual([]);
});
