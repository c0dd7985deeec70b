/**
 * Strokes as a node takes them: `{"strokes": [{"points": [[x, y], ...], "color": "#rrggbb", "width": 0.03}]}`. A width
 * below 1 is a part of the picture's, as places are, so that it looks the same at any size; from 1 on it is pixels.
 */

import { isObject } from "../../graph/document";
import type { Json } from "../../graph/types";

export interface Stroke {
  readonly points: readonly (readonly [number, number])[];
  readonly color: string;
  readonly width: number;
}

/** Read strokes, from an object or a bare list; what is none is left out. */
export function readStrokes(value: Json): Stroke[] {
  const list = isObject(value) ? value.strokes : value;
  if (!Array.isArray(list)) return [];
  return list.flatMap((plain: Json) => {
    if (!isObject(plain) || !Array.isArray(plain.points)) return [];
    const points = plain.points.flatMap((p: Json) =>
      Array.isArray(p) && typeof p[0] === "number" && typeof p[1] === "number" ? [[p[0], p[1]] as const] : [],
    );
    const color = typeof plain.color === "string" ? plain.color : "#ff0000";
    const width = typeof plain.width === "number" ? plain.width : 8;
    return points.length ? [{ points, color, width }] : [];
  });
}

export function writeStrokes(strokes: readonly Stroke[]): Json {
  return {
    strokes: strokes.map(({ points, color, width }) => ({
      points: thinned(points).map((p) => [...p]),
      color,
      width,
    })),
  };
}

/** Leave out points that lie closer than a 400th of the side to the one before; ends stay. */
export function thinned(points: Stroke["points"]): Stroke["points"] {
  const kept: (readonly [number, number])[] = [];
  points.forEach(([x, y], place) => {
    const last = kept.at(-1);
    const isEnd = place === points.length - 1;
    if (last && !isEnd && Math.hypot(x - last[0], y - last[1]) < 1 / 400) return;
    kept.push([round(x), round(y)]);
  });
  return kept;
}

function round(value: number): number {
  return Math.round(Math.min(2, Math.max(-1, value)) * 1e4) / 1e4;
}
