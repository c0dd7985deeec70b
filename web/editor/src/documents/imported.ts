/** What became of a foreign workflow that was opened last: kept until it was read. */

import { create } from "zustand";
import type { ImportReport } from "../server/messages";

export const useImported = create<{ readonly report: ImportReport | null }>(() => ({ report: null }));

/** Return the remarks, each with the node it is about; null: it is about the whole file. */
export function said(report: ImportReport): { node: string | null; text: string }[] {
  return [
    ...report.remarks.map((text) => ({ node: null, text })),
    ...Object.entries(report.nodes).flatMap(([node, { remarks }]) => remarks.map((text) => ({ node, text }))),
  ];
}

/** Return the counts as a sentence: "12 nodes came over, 2 of them changed; 1 is unknown here." */
export function counted({ counts }: ImportReport): string {
  const { imported = 0, changed = 0, unknown = 0 } = counts;
  const came = `${imported + changed} ${imported + changed === 1 ? "node" : "nodes"} came over`;
  const parts = [changed ? `${came}, ${changed} of them changed` : came];
  if (unknown) parts.push(`${unknown} ${unknown === 1 ? "is" : "are"} unknown here`);
  return `${parts.join("; ")}.`;
}
