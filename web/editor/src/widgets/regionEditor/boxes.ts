/** Regions of a picture with a text each: boxes, and painted ones. Places and sizes are parts of the picture, 0..1, so that they outlive a resize. */

import { isObject } from "../../graph/document";
import type { Json } from "../../graph/types";

export interface Region {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly text: string;
  /** A painted region: its mask, a file as large as the picture, by digest or name. */
  readonly mask?: string;
}

export const SMALLEST = 0.02;

/** Read the boxes of a value; what is no box is left out. */
export function readRegions(value: Json): Region[] {
  const list = Array.isArray(value) ? value : [];
  return list.flatMap((plain: Json) => {
    if (!isObject(plain)) return [];
    const { x, y, width, height, text, mask } = plain;
    if (typeof mask === "string" && mask) return [painted(mask, typeof text === "string" ? text : "")];
    if (![x, y, width, height].every((n) => typeof n === "number" && Number.isFinite(n))) return [];
    const box = { x: Number(x), y: Number(y), width: Number(width), height: Number(height) };
    return [{ ...kept(box), text: typeof text === "string" ? text : "" }];
  });
}

/** Write boxes as a value, rounded to a ten-thousandth. */
export function writeRegions(regions: readonly Region[]): Json {
  const short = (value: number) => Math.round(value * 1e4) / 1e4;
  return regions.map(({ x, y, width, height, text, mask }) =>
    mask ? { mask, text } : { x: short(x), y: short(y), width: short(width), height: short(height), text },
  );
}

/** Return a painted region. */
export function painted(mask: string, text = ""): Region {
  return { x: 0, y: 0, width: 1, height: 1, text, mask };
}

/** Return the box between two corners, inside the picture. */
export function between(
  a: { x: number; y: number },
  b: { x: number; y: number },
): Omit<Region, "text" | "mask"> {
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return kept({ x, y, width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) });
}

/** Move a box, kept whole inside the picture. */
export function moved<R extends Omit<Region, "text" | "mask">>(box: R, dx: number, dy: number): R {
  return { ...box, x: clamp(box.x + dx, 0, 1 - box.width), y: clamp(box.y + dy, 0, 1 - box.height) };
}

/** Move the lower right corner of a box. */
export function resized<R extends Omit<Region, "text" | "mask">>(box: R, dx: number, dy: number): R {
  const width = clamp(box.width + dx, SMALLEST, 1 - box.x);
  return { ...box, width, height: clamp(box.height + dy, SMALLEST, 1 - box.y) };
}

function kept(box: Omit<Region, "text" | "mask">): Omit<Region, "text" | "mask"> {
  const x = clamp(box.x, 0, 1 - SMALLEST);
  const y = clamp(box.y, 0, 1 - SMALLEST);
  return { x, y, width: clamp(box.width, SMALLEST, 1 - x), height: clamp(box.height, SMALLEST, 1 - y) };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
