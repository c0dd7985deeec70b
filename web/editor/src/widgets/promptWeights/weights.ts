/** Weights of single words, as a node takes them: `{"word": weight}`; a word without one has weight 1. */

import { isObject } from "../../graph/document";
import type { Json } from "../../graph/types";
import { words } from "../promptPair/diff";
import { type Listed, listed } from "../promptPair/listed";

export type Weights = Readonly<Record<string, number>>;

/** Read weights, of words in small letters, from a value: an object, or its JSON as text. */
export function readWeights(value: Json): Weights {
  let plain: unknown = value;
  if (typeof value === "string") {
    try {
      plain = JSON.parse(value || "{}");
    } catch {
      return {};
    }
  }
  if (!isObject(plain)) return {};
  return Object.fromEntries(
    Object.entries(plain).flatMap(([word, weight]) =>
      typeof weight === "number" ? [[word.toLowerCase(), weight]] : [],
    ),
  );
}

/** Write weights in the form that the value had: as text where the input is a text. */
export function writeWeights(weights: Weights, asText: boolean): Json {
  const changed = Object.fromEntries(Object.entries(weights).filter(([, weight]) => weight !== 1));
  return asText ? JSON.stringify(changed) : changed;
}

/** A word as the model's tokenizer read it. */
export interface Read {
  readonly text: string;
  readonly tokens: readonly string[];
}

export interface Chip extends Listed {
  readonly weight: number;
  readonly tokens: readonly string[];
}

/**
 * Return the words to show: those of the prompt, in order, once each, then words and phrases that have a weight.
 * `read` is how the model's tokenizer cut the prompt; without it, words end at spaces and marks.
 */
export function chips(prompt: string, weights: Weights, read?: readonly Read[]): Chip[] {
  const found = read ?? words(prompt).map((text) => ({ text, tokens: [text] }));
  const tokens = new Map(found.map((w) => [w.text.toLowerCase(), w.tokens]));
  return listed(
    found.map((w) => w.text),
    Object.keys(weights),
  ).map(({ word, gone }) => ({
    word,
    gone,
    weight: weights[word] ?? 1,
    tokens: tokens.get(word) ?? [],
  }));
}
