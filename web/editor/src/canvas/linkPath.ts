import type { Point } from "../graph/types";

/** Return the SVG path of a link through its bends: it leaves to the right and comes in from the left. */
export function linkPath(from: Point, bends: readonly Point[], to: Point): string {
  const points = [from, ...bends, to];
  let path = `M${from.x},${from.y}`;
  for (let n = 1; n < points.length; n += 1) {
    const a = points[n - 1] ?? from;
    const b = points[n] ?? to;
    const pull = Math.max(Math.min(Math.abs(b.x - a.x) / 2, 120), b.x < a.x ? 60 : 12);
    path += `C${a.x + pull},${a.y} ${b.x - pull},${b.y} ${b.x},${b.y}`;
  }
  return path;
}
