/** Windows of single words, as parts of the steps: `{"word": end}` or `{"word": [start, end]}`. */

import { isObject } from "../../graph/document";
import type { Json } from "../../graph/types";

export type Window = readonly [start: number, end: number];
export type Windows = Readonly<Record<string, Window>>;

/** Read windows; a single number begins with the first step. */
export function readWindows(value: Json): Windows {
  const found: Record<string, Window> = {};
  for (const [word, window] of Object.entries(isObject(value) ? value : {})) {
    const [start, end] = Array.isArray(window) ? window : [0, window];
    if (typeof start === "number" && typeof end === "number") found[word.toLowerCase()] = [start, end];
  }
  return found;
}

/** Write windows, those that begin with the first step as one number; without any the input is empty. */
export function writeWindows(windows: Windows): Json {
  const told = Object.entries(windows).map(([word, [start, end]]) => [
    word,
    start === 0 ? end : [start, end],
  ]);
  return told.length ? Object.fromEntries(told) : null;
}

/** Return a window with one of its ends moved; the other end goes along where they would cross. */
export function moved([start, end]: Window, which: "start" | "end", to: number): Window {
  return which === "start" ? [to, Math.max(to, end)] : [Math.min(start, to), to];
}
