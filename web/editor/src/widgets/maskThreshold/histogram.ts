/** Brightness counts of a picture, and how much of it lies above a threshold. */

export const BINS = 64;

/** Count luma (Rec. 601, 0..1) of RGBA bytes in equal bins. */
export function histogram(rgba: Uint8ClampedArray, bins = BINS): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (let at = 0; at < rgba.length; at += 4) {
    const luma = 0.299 * (rgba[at] ?? 0) + 0.587 * (rgba[at + 1] ?? 0) + 0.114 * (rgba[at + 2] ?? 0);
    const bin = Math.min(bins - 1, Math.floor((luma / 255) * bins));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}

/** Return the part (0..1) of all pixels in bins at or above `threshold`. */
export function above(counts: readonly number[], threshold: number): number {
  const all = counts.reduce((sum, count) => sum + count, 0);
  const first = Math.floor(threshold * counts.length);
  const kept = counts.slice(first).reduce((sum, count) => sum + count, 0);
  return all ? kept / all : 0;
}
