/** How two pictures differ, pixel by pixel. */

export interface Difference {
  /** |a - b| times `gain`, opaque RGBA. */
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  /** The largest difference of any channel, 0..255. */
  readonly largest: number;
  /** The part of pixels that differ at all, 0..1. */
  readonly changed: number;
}

/** Compare two RGBA pictures of one size. */
export function difference(a: Uint8ClampedArray, b: Uint8ClampedArray, gain = 4): Difference {
  const rgba = new Uint8ClampedArray(a.length);
  let [largest, changed] = [0, 0];
  for (let at = 0; at < a.length; at += 4) {
    let most = 0;
    for (let channel = at; channel < at + 3; channel += 1) {
      const delta = Math.abs((a[channel] ?? 0) - (b[channel] ?? 0));
      rgba[channel] = delta * gain;
      most = Math.max(most, delta);
    }
    rgba[at + 3] = 255;
    largest = Math.max(largest, most);
    if (most) changed += 1;
  }
  return { rgba, largest, changed: a.length ? changed / (a.length / 4) : 0 };
}
