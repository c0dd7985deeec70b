/** Attention maps as colours. Pure. */

import { z } from "zod";

/** What a node that shows attention says of its files: a picture if `picture`, then a strip of maps for each grid. */
const zAttention = z.object({
  words: z.array(z.string()).min(1),
  grids: z
    .array(
      z.object({
        size: z.string(),
        width: z.number(),
        height: z.number(),
        /** By word: the attention of its strongest cell, which its map's white stands for. */
        peaks: z.array(z.number()),
      }),
    )
    .min(1),
  picture: z.boolean(),
});
export type Attention = z.infer<typeof zAttention>;

/** Read what such a node said; null if it is something else. */
export function readAttention(text: string): Attention | null {
  try {
    return zAttention.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** Return the place of the word that a cell looks at most: seldom an article, which the picture hardly turns on. */
export function strongest(peaks: readonly number[]): number {
  return Math.max(0, peaks.indexOf(Math.max(...peaks)));
}

/** Black body: dark violet over red to light yellow, brighter all the way, so that it reads without colours too. */
const STOPS = [
  [20, 11, 52],
  [120, 28, 109],
  [207, 68, 70],
  [251, 155, 6],
  [252, 255, 164],
] as const;

/** Return the colour of a value 0..1. */
export function heatColor(value: number): readonly [number, number, number] {
  const place = Math.min(1, Math.max(0, value)) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  const [a, b] = [STOPS[below] ?? STOPS[0], STOPS[below + 1] ?? STOPS[0]];
  const mix = (n: 0 | 1 | 2) => Math.round(a[n] + (b[n] - a[n]) * (place - below));
  return [mix(0), mix(1), mix(2)];
}

/** Cut one map out of a strip of grey maps side by side, multiply it, and colour it: RGBA of `width` x `height`. */
export function heatOf(
  strip: Uint8ClampedArray,
  words: number,
  place: number,
  { width, height }: { width: number; height: number },
  factor: number,
): Uint8ClampedArray<ArrayBuffer> {
  const colored = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const grey = strip[4 * (y * width * words + place * width + x)] ?? 0;
      colored.set([...heatColor((grey / 255) * factor), 255], 4 * (y * width + x));
    }
  }
  return colored;
}
