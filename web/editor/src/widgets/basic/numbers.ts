/** Arithmetic of number fields. */

import type { InputSpec } from "../../graph/types";

/** Work out `512*1.5`, `(2+3)/2`, `-4`: + - * / and brackets; null if it is no such thing. */
export function evaluate(text: string): number | null {
  const tokens = text.replace(",", ".").match(/\d*\.?\d+(?:e[-+]?\d+)?|[-+*/()]|\S/gi) ?? [];
  let at = 0;
  const sum = (): number => {
    let left = product();
    while (tokens[at] === "+" || tokens[at] === "-")
      left = tokens[at++] === "+" ? left + product() : left - product();
    return left;
  };
  const product = (): number => {
    let left = factor();
    while (tokens[at] === "*" || tokens[at] === "/")
      left = tokens[at++] === "*" ? left * factor() : left / factor();
    return left;
  };
  const factor = (): number => {
    const token = tokens[at++];
    if (token === "-") return -factor();
    if (token !== "(") return Number(token ?? Number.NaN);
    const inner = sum();
    return tokens[at++] === ")" ? inner : Number.NaN;
  };
  const result = sum();
  return at === tokens.length && Number.isFinite(result) ? result : null;
}

/** Bring a number within the bounds and, for integers, onto the grid of an input. */
export function clamped(spec: InputSpec, value: number): number {
  const low = spec.low ?? -Infinity;
  const high = spec.high ?? Infinity;
  let number = Math.min(high, Math.max(low, value));
  if (spec.type === "INT") {
    const step = spec.step ?? 1;
    const base = Number.isFinite(low) ? low : 0;
    number = base + Math.round((number - base) / step) * step;
    if (number > high) number -= step;
  }
  return Number(number.toPrecision(15)); // 0.1 + 0.2 stays 0.3
}

/** Return the number some steps further. */
export function stepped(spec: InputSpec, value: number, steps: number): number {
  const step = spec.step ?? (spec.type === "INT" ? 1 : 0.1);
  return clamped(spec, value + step * steps);
}
