/** Painted layers as bytes. A layer holds what is painted in its alpha; a mask file is grey, white where painted. */

type Bytes = Uint8ClampedArray<ArrayBuffer>;

/** Write a layer as a mask file: opaque grey. */
export function toMask(layer: Uint8ClampedArray): Bytes {
  const mask = new Uint8ClampedArray(layer.length);
  for (let at = 0; at < layer.length; at += 4) {
    mask.fill(layer[at + 3] ?? 0, at, at + 3);
    mask[at + 3] = 255;
  }
  return mask;
}

/** Read a mask file as a layer of one colour. */
export function fromMask(
  mask: Uint8ClampedArray,
  [red, green, blue]: readonly [number, number, number],
): Bytes {
  const layer = new Uint8ClampedArray(mask.length);
  for (let at = 0; at < mask.length; at += 4) {
    const luma = 0.299 * (mask[at] ?? 0) + 0.587 * (mask[at + 1] ?? 0) + 0.114 * (mask[at + 2] ?? 0);
    layer.set([red, green, blue, luma], at);
  }
  return layer;
}

/** Paint what was not painted, and the other way round. */
export function invert(
  layer: Uint8ClampedArray,
  [red, green, blue]: readonly [number, number, number],
): Bytes {
  const inverse = new Uint8ClampedArray(layer.length);
  for (let at = 0; at < layer.length; at += 4)
    inverse.set([red, green, blue, 255 - (layer[at + 3] ?? 0)], at);
  return inverse;
}

/** Say how much of a layer is painted, 0..1. */
export function coverage(layer: Uint8ClampedArray): number {
  let sum = 0;
  for (let at = 3; at < layer.length; at += 4) sum += layer[at] ?? 0;
  return layer.length ? sum / (255 * (layer.length / 4)) : 0;
}
