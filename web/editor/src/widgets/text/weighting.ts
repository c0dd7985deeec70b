/** Weights in prompts: `(word:1.1)`, changed with Ctrl+Up and Ctrl+Down. */

export interface Selected {
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

const WEIGHTED = /^\(([\s\S]*):(-?\d*\.?\d+)\)$/;

/** Change the weight of the selection, or of the word at the cursor, by `delta`; weight 1 takes the brackets away. */
export function weigh(given: Selected, delta: number): Selected {
  const { from, to } = grow(given);
  const chosen = given.text.slice(from, to);
  if (!chosen.trim()) return given;
  const match = WEIGHTED.exec(chosen);
  const words = match?.[1] ?? chosen;
  const weight = Math.round((Number(match?.[2] ?? 1) + delta) * 100) / 100;
  const written = weight === 1 ? words : `(${words}:${weight})`;
  return {
    text: given.text.slice(0, from) + written + given.text.slice(to),
    from,
    to: from + written.length,
  };
}

/** Take in the word at the cursor, and the brackets of a weight that lie around. */
function grow({ text, from, to }: Selected): { from: number; to: number } {
  let [start, end] = [from, to];
  if (start === end) {
    while (start > 0 && isWord(text[start - 1])) start -= 1;
    while (end < text.length && isWord(text[end])) end += 1;
  } else {
    while (start < end && text[start] === " ") start += 1;
    while (end > start && text[end - 1] === " ") end -= 1;
  }
  for (const group of text.matchAll(/\([^()]*:-?\d*\.?\d+\)/g)) {
    if (group.index <= start && end <= group.index + group[0].length)
      return { from: group.index, to: group.index + group[0].length };
  }
  return { from: start, to: end };
}

function isWord(letter: string | undefined): boolean {
  return letter !== undefined && !/[\s,.;:()]/.test(letter);
}
