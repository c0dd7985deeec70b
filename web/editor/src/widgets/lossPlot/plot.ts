/** Curves in a box: scales, ticks, smoothing and SVG paths. */

export type Points = readonly (readonly [x: number, y: number])[];

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly log: boolean;
}

/** Return bounds around all finite values; a log scale takes only those above 0. */
export function scaleOf(values: readonly number[], log: boolean): Scale {
  const usable = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  if (!usable.length) return { low: log ? 0.1 : 0, high: 1, log };
  const [low, high] = [Math.min(...usable), Math.max(...usable)];
  if (low !== high) return { low, high, log };
  return log ? { low: low / 2, high: high * 2, log } : { low: low - 0.5, high: high + 0.5, log };
}

/** Return where a value lies between the bounds, 0..1; null if a log scale cannot show it. */
export function place(value: number, { low, high, log }: Scale): number | null {
  if (!Number.isFinite(value) || (log && value <= 0)) return null;
  return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

/** Return round values inside the bounds, about `count` of them. */
export function ticks({ low, high, log }: Scale, count = 5): number[] {
  if (log && high / low >= 10) {
    const powers: number[] = [];
    for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power += 1)
      powers.push(10 ** power);
    return powers;
  }
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * unit >= rough) ?? 10) * unit;
  const found: number[] = [];
  for (let tick = Math.ceil(low / step); tick * step <= high + step * 1e-9; tick += 1) {
    found.push(Number((tick * step).toPrecision(12)));
  }
  return found;
}

/** Smooth by an exponential mean without its bias towards the start; `amount` 0 leaves the curve as it is. */
export function smooth(points: Points, amount: number): Points {
  let [mean, weight] = [0, 0];
  return points.map(([x, y]) => {
    mean = amount * mean + (1 - amount) * y;
    weight = amount * weight + (1 - amount);
    return [x, mean / weight];
  });
}

/** Return an SVG path in a box of `width` x `height`; what cannot be shown interrupts it. */
export function path(points: Points, x: Scale, y: Scale, width: number, height: number): string {
  let pen = "M";
  let drawn = "";
  for (const [px, py] of points) {
    const [across, up] = [place(px, x), place(py, y)];
    if (across === null || up === null) {
      pen = "M";
      continue;
    }
    drawn += `${pen}${(across * width).toFixed(1)} ${((1 - up) * height).toFixed(1)}`;
    pen = "L";
  }
  return drawn;
}
