/** Which nodes fit what is typed, or the end of a link that was let go. Best first. */

import { fits, isWritable } from "./links";
import type { NodeSpec } from "./types";

/** A link that hangs in the air: it wants an input for `type` (`from` an output) or an output of it. */
export interface Loose {
  readonly from: "output" | "input";
  readonly type: string;
  readonly name: string;
}

export interface Hit {
  readonly spec: NodeSpec;
  /** The socket that the loose link would go to. */
  readonly socket: string | null;
  readonly score: number;
}

/** Return the types that can stand in the place of one: of its category, with the same outputs; itself among them. */
export function replacements(specs: Iterable<NodeSpec>, spec: NodeSpec): NodeSpec[] {
  const given = (one: NodeSpec) =>
    JSON.stringify(one.outputs.map(({ name, type, list }) => [name, type, list]));
  return [...specs].filter(
    (one) => one.outputs.length > 0 && one.category === spec.category && given(one) === given(spec),
  );
}

/** Return the node types that fit, best first; `recent` ids, and nodes that show something, before others of equal worth. */
export function search(
  specs: Iterable<NodeSpec>,
  text: string,
  loose: Loose | null,
  recent: readonly string[] = [],
): Hit[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const hits: Hit[] = [];
  for (const spec of specs) {
    const socket = loose ? socketFor(spec, loose) : null;
    if (loose && !socket) continue;
    const worth = words.length ? scoreText(spec, words) : 1;
    if (!worth) continue;
    const place = recent.indexOf(spec.id);
    const fresh = place < 0 ? 0 : 0.5 / (place + 1);
    hits.push({
      spec,
      socket: socket?.name ?? null,
      score: worth + (socket?.score ?? 0) + fresh + (spec.output ? 0.3 : 0) - (isForeign(spec) ? 0.4 : 0),
    });
  }
  return hits.sort((a, b) => b.score - a.score || a.spec.title.localeCompare(b.spec.title));
}

/** Name before category before help; every word must be found. */
function scoreText(spec: NodeSpec, words: readonly string[]): number {
  const title = spec.title.toLowerCase();
  let score = 0;
  for (const word of words) {
    if (title.startsWith(word)) score += 8;
    else if (title.includes(` ${word}`)) score += 6;
    else if (spec.id.includes(word) || title.includes(word)) score += 4;
    else if (spec.category.includes(word)) score += 2;
    else if (spec.doc.toLowerCase().includes(word)) score += 1;
    else if (isSubsequence(word, title)) score += 0.5;
    else return 0;
  }
  return score / words.length;
}

function isSubsequence(word: string, text: string): boolean {
  let at = 0;
  for (const letter of text) if (letter === word[at]) at += 1;
  return word.length > 2 && at === word.length;
}

/** The best socket of a type for a loose link: same name, then same type, then a union, then ANY. */
function socketFor(spec: NodeSpec, loose: Loose): { name: string; score: number } | null {
  const sockets =
    loose.from === "output"
      ? spec.inputs.map((i) => ({
          name: i.name,
          type: i.type,
          fits: fits(i.type, loose.type),
          minor: isWritable(i),
        }))
      : spec.outputs.map((o) => ({
          name: o.name,
          type: o.type,
          fits: fits(loose.type, o.type),
          minor: false,
        }));
  let best: { name: string; score: number } | null = null;
  for (const socket of sockets) {
    if (!socket.fits) continue;
    let score = socket.type === loose.type ? 3 : socket.type === "ANY" ? 0.2 : 1;
    if (socket.name === loose.name) score += 0.5;
    if (socket.minor && loose.type !== socket.type) score -= 0.5;
    if (!best || score > best.score) best = { name: socket.name, score };
  }
  return best;
}

/** ComfyUI's classes are there for its files; a node of ours with the same title comes first. */
function isForeign({ category }: NodeSpec): boolean {
  return category === "comfyui" || category.startsWith("comfyui/");
}
