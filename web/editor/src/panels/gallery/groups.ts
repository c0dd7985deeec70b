/** The gallery's order: as the tutorial goes, from the start to what one learns last. Pure. */

import type { Example } from "../../server/messages";

const GROUPS: readonly [group: string, title: string][] = [
  ["basics", "Start"],
  ["editing", "Edit a picture"],
  ["control", "Control the layout"],
  ["customization", "Personalise"],
  ["architectures", "Other models"],
  ["applications", "Understand and use"],
];
const FIRST = ["text_to_image", "image_to_image", "inpaint"];

/** Return the examples that match a search, by group; groups that we do not know come last under their own name. */
export function grouped(
  examples: readonly Example[],
  search: string,
): { title: string; examples: Example[] }[] {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = examples.filter((e) => {
    const text = `${e.name} ${e.sentence} ${e.group} ${e.help}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
  const known = new Map(GROUPS);
  const others = [...new Set(examples.map((e) => e.group))].filter((group) => !known.has(group)).sort();
  return [...known.keys(), ...others].flatMap((group) => {
    const found = matches
      .filter((e) => e.group === group)
      .sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
    return found.length ? [{ title: known.get(group) ?? group, examples: found }] : [];
  });
}

/** Return a sentence without the marks of Markdown. */
export function plain(sentence: string): string {
  return sentence.replace(/[*`]/g, "");
}

/** Return how long a workflow took where it was measured, for its card. */
export function timeOf({ seconds, threads }: Example): { text: string; help: string } | null {
  if (seconds === null) return null;
  const text =
    seconds < 1 ? "under 1 s" : seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
  const on = threads ? ` with ${threads} ${threads === 1 ? "thread" : "threads"}` : "";
  return { text, help: `Measured on a CPU${on}, the model loaded and nothing cached` };
}

function rank(example: Example): number {
  const place = FIRST.indexOf(example.id);
  return place < 0 ? FIRST.length : place;
}
