/** What changed between two prompts, word by word. */

export interface Piece {
  readonly kind: "same" | "gone" | "new";
  readonly text: string;
}

export function words(text: string): string[] {
  return text.match(/[^\s,.;]+|[,.;]/g) ?? [];
}

/** Return the shortest edit from one prompt to the other (longest common subsequence of their words). */
export function diff(before: string, after: string): Piece[] {
  const [a, b] = [words(before), words(after)];
  const width = b.length + 1;
  const common = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const [right, below] = [common[i * width + j + 1] ?? 0, common[(i + 1) * width + j] ?? 0];
      common[i * width + j] =
        a[i] === b[j] ? (common[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(right, below);
    }
  }
  const pieces: Piece[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [old, fresh] = [a[i], b[j]];
    if (old !== undefined && old === fresh) {
      pieces.push({ kind: "same", text: old });
      i += 1;
      j += 1;
    } else if (old !== undefined && (fresh === undefined || down(common, width, i, j))) {
      pieces.push({ kind: "gone", text: old });
      i += 1;
    } else if (fresh !== undefined) {
      pieces.push({ kind: "new", text: fresh });
      j += 1;
    }
  }
  return pieces;
}

function down(common: Uint16Array, width: number, i: number, j: number): boolean {
  return (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0);
}
