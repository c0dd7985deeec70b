/** Numbers as people type and drag them. */

export interface Bounds {
  readonly low: number | null;
  readonly high: number | null;
  readonly step: number | null;
  readonly type: string;
}

/** Return what a sum such as `512*1.5` comes to; null if it is none. Only + - * / ^ ( ) and numbers are read. */
export function evaluate(text: string): number | null {
  const tokens =
    text
      .replace(/\s+/g, "")
      .replace(/,/g, ".")
      .match(/\d*\.?\d+(?:e[+-]?\d+)?|./gi) ?? [];
  let at = 0;
  const take = (...wanted: string[]): string | null => {
    const token = tokens[at];
    if (token === undefined || !wanted.includes(token)) return null;
    at += 1;
    return token;
  };
  const chain = (next: () => number, operators: readonly string[]): number => {
    let value = next();
    for (let operator = take(...operators); operator; operator = take(...operators)) {
      value = apply(operator, value, next());
    }
    return value;
  };
  const sum = (): number => chain(product, ["+", "-"]);
  const product = (): number => chain(signed, ["*", "/"]);
  const signed = (): number => {
    const sign = take("-", "+");
    return sign ? (sign === "-" ? -signed() : signed()) : power();
  };
  const power = (): number => {
    const base = atom();
    return take("^") ? base ** signed() : base;
  };
  const atom = (): number => {
    if (!take("(")) return Number(tokens[at++] ?? Number.NaN);
    const inner = sum();
    return take(")") ? inner : Number.NaN;
  };
  const value = sum();
  return at === tokens.length && Number.isFinite(value) ? value : null;
}

function apply(operator: string, left: number, right: number): number {
  if (operator === "+") return left + right;
  if (operator === "-") return left - right;
  return operator === "*" ? left * right : left / right;
}

/** Bring a number into its bounds, an integer also onto its grid (as the server checks it). */
export function bounded(value: number, bounds: Bounds): number {
  const low = bounds.low ?? Number.NEGATIVE_INFINITY;
  const high = bounds.high ?? Number.POSITIVE_INFINITY;
  const within = Math.min(high, Math.max(low, value));
  if (bounds.type !== "INT") return round(within);
  const grid = bounds.step ?? 1;
  const origin = bounds.low ?? 0;
  const steps = Math.round((within - origin) / grid);
  const snapped = origin + steps * grid;
  return snapped > high ? snapped - grid : snapped;
}

/** Return how much one step changes a number: its declared step, else a hundredth of its range. */
export function stepOf(bounds: Bounds): number {
  if (bounds.step) return bounds.step;
  if (bounds.type === "INT") return 1;
  const range = (bounds.high ?? 1) - (bounds.low ?? 0);
  return range > 0 && range <= 1000 ? 10 ** Math.floor(Math.log10(range / 50)) : 0.1;
}

/** Return the number after dragging `pixels` to the right; Shift is fine, Ctrl coarse. */
export function scrub(
  start: number,
  pixels: number,
  bounds: Bounds,
  keys: { fine: boolean; coarse: boolean },
): number {
  const factor = keys.fine ? 0.1 : keys.coarse ? 10 : 1;
  const perPixel = bounds.type === "INT" ? stepOf(bounds) / 4 : stepOf(bounds) / 2;
  return bounded(start + pixels * perPixel * factor, bounds);
}

/** Write a number without the noise of binary fractions. */
export function show(value: number): string {
  return String(round(value));
}

function round(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(10));
}
