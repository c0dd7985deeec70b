import fc from "fast-check";
import { expect, test } from "vitest";
import { crosses } from "./crossing";

const at = (x: number, y: number) => ({ x, y });

test("a swipe crosses what it goes through, not what it passes by or what it only points at", () => {
  const link = [at(0, 0), at(10, 0), at(20, 10)];
  expect(crosses([at(5, -5), at(5, 5)], link)).toBe(true);
  expect(crosses([at(5, 5), at(5, 1)], link)).toBe(false);
  expect(crosses([at(30, 0), at(30, 9), at(15, 9)], link)).toBe(true);
  expect(crosses([at(30, 0)], link)).toBe(false);
  expect(crosses([at(12, 0), at(14, 0)], [at(0, 0), at(10, 0)])).toBe(false);
  expect(crosses([at(8, 0), at(14, 0)], [at(0, 0), at(10, 0)])).toBe(true);
});

test("crossing is mutual, and moving both changes nothing", () => {
  const point = fc.record({ x: fc.integer({ min: -50, max: 50 }), y: fc.integer({ min: -50, max: 50 }) });
  const line = fc.array(point, { minLength: 2, maxLength: 5 });
  fc.assert(
    fc.property(line, line, point, (one, other, by) => {
      const moved = (points: typeof one) => points.map((p) => at(p.x + by.x, p.y + by.y));
      expect(crosses(other, one)).toBe(crosses(one, other));
      expect(crosses(moved(one), moved(other))).toBe(crosses(one, other));
    }),
  );
});
