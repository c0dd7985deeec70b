/** Whether two drawn lines cross. Pure. */

import type { Point } from "../../graph/types";

/** Say whether any stretch of one line of points crosses, or touches, any stretch of another. */
export function crosses(one: readonly Point[], other: readonly Point[]): boolean {
  return one.some((a, n) => {
    const b = one[n + 1];
    return (
      b !== undefined &&
      other.some((c, m) => {
        const d = other[m + 1];
        return d !== undefined && meet(a, b, c, d);
      })
    );
  });
}

function meet(a: Point, b: Point, c: Point, d: Point): boolean {
  const [s1, s2, s3, s4] = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
  if (s1 === 0 && s2 === 0) return overlap(a.x, b.x, c.x, d.x) && overlap(a.y, b.y, c.y, d.y); // on one line
  return s1 * s2 <= 0 && s3 * s4 <= 0;
}

/** On which side of the line from a to b the point p lies: -1, 0 (on it) or 1. */
function side(a: Point, b: Point, p: Point): number {
  return Math.sign((b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x));
}

function overlap(a: number, b: number, c: number, d: number): boolean {
  return Math.max(Math.min(a, b), Math.min(c, d)) <= Math.min(Math.max(a, b), Math.max(c, d));
}
