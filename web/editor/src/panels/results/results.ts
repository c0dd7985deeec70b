/** What jobs showed people, newest first. Pure. */

import { z } from "zod";
import type { JobSummary } from "../../server/messages";
import type { Run } from "../../state/runs";
import { pairs, type Shown, shownBy, zShown } from "../../widgets/shown/shown";

const zOutput = z.looseObject({ ui: z.array(zShown).catch([]) });

/** One picture, text or plot that a node of a job showed. */
export interface Result {
  readonly id: string;
  readonly job: string;
  readonly node: string;
  readonly client: string;
  readonly at: number;
  readonly kind: string;
  /** The picture; null for a text or plot. */
  readonly digest: string | null;
  readonly name: string;
  readonly text: string;
  /** All files, where they are looked at together: the maps of an attention, two pictures to compare. */
  readonly files: Shown["files"];
}

/** Return the results of a job as lists of jobs tell them. */
export function resultsOfJob(job: JobSummary): Result[] {
  return Object.entries(job.outputs).flatMap(([node, output]) => {
    const shown = zOutput.safeParse(output).data?.ui ?? [];
    return flat(shown, { job: job.id, node, client: job.client, at: job.ended ?? job.created });
  });
}

/** Return the results of a run as events tell them, also while it goes on. */
export function resultsOfRun(run: Run): Result[] {
  return Object.entries(run.nodes).flatMap(([node, { ui }]) =>
    flat(shownBy(ui), { job: run.id, node, client: run.client, at: run.ended ?? run.started ?? run.created }),
  );
}

/** Put both together, newest first; a picture that a job showed twice is listed once. */
export function merged(...lists: readonly (readonly Result[])[]): Result[] {
  const seen = new Map<string, Result>();
  for (const result of lists.flat()) if (!seen.has(result.id)) seen.set(result.id, result);
  return [...seen.values()].sort((a, b) => b.at - a.at || (a.id < b.id ? -1 : 1));
}

function flat(shown: readonly Shown[], from: Pick<Result, "job" | "node" | "client" | "at">): Result[] {
  return shown.flatMap(({ ui, text, files }): Result[] => {
    if (ui === "attention") {
      return [
        { ...from, kind: ui, text, files, id: `${from.job}/${from.node}/${ui}`, digest: null, name: "" },
      ];
    }
    const pictures = files.filter((file) => !file.media || file.media.startsWith("image/"));
    if (ui === "compare") {
      return pairs(pictures).map(([before, after], index) => ({
        ...from,
        kind: ui,
        text,
        files: [before, after],
        id: `${from.job}/${from.node}/${index}/${after.digest}`,
        digest: after.digest,
        name: after.name,
      }));
    }
    const base = { ...from, kind: ui, text, files: [] };
    if (!pictures.length) {
      return text ? [{ ...base, id: `${from.job}/${from.node}/${ui}`, digest: null, name: "" }] : [];
    }
    return pictures.map(({ digest, name }, index) => ({
      ...base,
      id: `${from.job}/${from.node}/${index}/${digest}`,
      digest,
      name,
    }));
  });
}
