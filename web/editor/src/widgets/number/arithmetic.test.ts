import fc from "fast-check";
import { expect, test } from "vitest";
import { bounded, evaluate, scrub, show } from "./arithmetic";

const FLOAT = { type: "FLOAT", low: 0, high: 1, step: null };
const SIZE = { type: "INT", low: 64, high: 200, step: 64 };

test.each([
  ["512*1.5", 768],
  ["2+3*4", 14],
  ["(2+3)*4", 20],
  ["-2^2", -4],
  ["2^-1", 0.5],
  [" 1,5 ", 1.5],
  ["1e3", 1000],
  ["8/2/2", 2],
  [".5", 0.5],
])("%s", (text, value) => expect(evaluate(text)).toBe(value));

test.each(["", "2+", "alert(1)", "1/0", "(1", "1 2 3 x", "()"])("%s is no sum", (text) =>
  expect(evaluate(text)).toBeNull(),
);

test("numbers are read as they are shown", () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }), (value) => {
      expect(evaluate(show(value))).toBeCloseTo(value, 4);
    }),
  );
});

test("an integer lands on the server's grid inside its bounds", () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, min: -1e4, max: 1e4 }), (value) => {
      const fitted = bounded(value, SIZE);
      expect((fitted - 64) % 64).toBe(0);
      expect(fitted).toBeGreaterThanOrEqual(64);
      expect(fitted).toBeLessThanOrEqual(200);
    }),
  );
});

test("dragging is finer with Shift and stays in bounds", () => {
  const coarse = scrub(0.5, 10, FLOAT, { fine: false, coarse: false });
  const fine = scrub(0.5, 10, FLOAT, { fine: true, coarse: false });
  expect(coarse - 0.5).toBeCloseTo(10 * (fine - 0.5));
  expect(scrub(0.5, 1e6, FLOAT, { fine: false, coarse: false })).toBe(1);
});
