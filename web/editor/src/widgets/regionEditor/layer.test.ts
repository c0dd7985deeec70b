import fc from "fast-check";
import { expect, test } from "vitest";
import { coverage, fromMask, invert, toMask } from "./layer";

const RED = [255, 0, 0] as const;
const layer = fc
  .array(fc.nat(255), { minLength: 1, maxLength: 20 })
  .map((alphas) => new Uint8ClampedArray(alphas.flatMap((alpha) => [...RED, alpha])));

test("a mask that is saved and opened again is the same layer", () => {
  fc.assert(
    fc.property(layer, (painted) => {
      const again = fromMask(toMask(painted), RED);
      for (let at = 3; at < painted.length; at += 4)
        expect(Math.abs((again[at] ?? 0) - (painted[at] ?? 0))).toBeLessThanOrEqual(1);
    }),
  );
});

test("inverting twice changes nothing, and the parts add up", () => {
  fc.assert(
    fc.property(layer, (painted) => {
      expect(invert(invert(painted, RED), RED)).toEqual(painted);
      expect(coverage(painted) + coverage(invert(painted, RED))).toBeCloseTo(1);
    }),
  );
});
