/** A tone curve through points in the unit square, without overshoot (Fritsch and Carlson 1980). */

export type Knot = readonly [x: number, y: number];

export const STRAIGHT: readonly Knot[] = [
  [0, 0],
  [1, 1],
];

/** Read the points of a value; a straight line where it holds none. */
export function readKnots(value: unknown): readonly Knot[] {
  if (!Array.isArray(value)) return STRAIGHT;
  const knots = value.flatMap((k: unknown) =>
    Array.isArray(k) && typeof k[0] === "number" && typeof k[1] === "number"
      ? [[clamp(k[0]), clamp(k[1])] as const]
      : [],
  );
  return knots.length >= 2 ? sorted(knots) : STRAIGHT;
}

/** Move knot `at`, kept between its neighbours. */
export function moveKnot(knots: readonly Knot[], at: number, [x, y]: Knot): readonly Knot[] {
  const gap = 0.01;
  const low = at === 0 ? 0 : (knots[at - 1]?.[0] ?? 0) + gap;
  const high = at === knots.length - 1 ? 1 : (knots[at + 1]?.[0] ?? 1) - gap;
  return knots.map((knot, index) => (index === at ? [Math.min(high, Math.max(low, x)), clamp(y)] : knot));
}

export function addKnot(knots: readonly Knot[], knot: Knot): readonly Knot[] {
  return sorted([...knots, [clamp(knot[0]), clamp(knot[1])]]);
}

/** Remove a knot; two stay in any case. */
export function removeKnot(knots: readonly Knot[], at: number): readonly Knot[] {
  return knots.length > 2 ? knots.filter((_, index) => index !== at) : knots;
}

/** Return the curve's height at x; flat beyond its ends. */
export function heightAt(knots: readonly Knot[], x: number): number {
  const right = knots.findIndex((knot) => knot[0] >= x);
  if (right <= 0) return (right === 0 ? knots[0] : knots.at(-1))?.[1] ?? 0;
  const [x0, y0] = knots[right - 1] ?? [0, 0];
  const [x1, y1] = knots[right] ?? [1, 1];
  const width = x1 - x0;
  const t = width ? (x - x0) / width : 0;
  const [m0, m1] = [tangent(knots, right - 1) * width, tangent(knots, right) * width];
  const [t2, t3] = [t * t, t * t * t];
  return clamp((2 * t3 - 3 * t2 + 1) * y0 + (t3 - 2 * t2 + t) * m0 + (3 * t2 - 2 * t3) * y1 + (t3 - t2) * m1);
}

function tangent(knots: readonly Knot[], at: number): number {
  const before = slope(knots, at - 1);
  const after = slope(knots, at);
  if (before === null || after === null) return before ?? after ?? 0;
  return before * after <= 0 ? 0 : (2 * before * after) / (before + after); // harmonic mean: never steeper than it may
}

function slope(knots: readonly Knot[], at: number): number | null {
  const [a, b] = [knots[at], knots[at + 1]];
  return a && b && b[0] !== a[0] ? (b[1] - a[1]) / (b[0] - a[0]) : null;
}

function sorted(knots: readonly Knot[]): readonly Knot[] {
  return [...knots].sort((a, b) => a[0] - b[0]);
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}
