import fc from "fast-check";
import { expect, test } from "vitest";
import { addKnot, heightAt, type Knot, moveKnot, readKnots, removeKnot, STRAIGHT } from "./curve";

test("it passes through its points and stays between neighbours", () => {
  const unit = fc.integer({ min: 0, max: 100 }).map((n) => n / 100);
  const knots = fc.uniqueArray(fc.tuple(unit, unit), { selector: (k) => k[0], minLength: 2, maxLength: 8 });
  fc.assert(
    fc.property(knots, unit, (made, x) => {
      const curve = readKnots(made);
      for (const [kx, ky] of curve) expect(heightAt(curve, kx)).toBeCloseTo(ky);
      const right = curve.findIndex((k) => k[0] >= x);
      if (right <= 0) return;
      const heights = [curve[right - 1]?.[1] ?? 0, curve[right]?.[1] ?? 0];
      expect(heightAt(curve, x)).toBeGreaterThanOrEqual(Math.min(...heights) - 1e-9);
      expect(heightAt(curve, x)).toBeLessThanOrEqual(Math.max(...heights) + 1e-9);
    }),
  );
});

test("points keep their order and two stay", () => {
  const three = addKnot(STRAIGHT, [0.5, 0.8]);
  expect(moveKnot(three, 1, [2, 2])[1]).toEqual([0.99, 1]);
  expect(removeKnot(three, 1)).toEqual(STRAIGHT);
  expect(removeKnot(STRAIGHT, 0)).toEqual(STRAIGHT);
  expect(readKnots("x")).toBe(STRAIGHT as readonly Knot[]);
});
