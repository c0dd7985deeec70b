/** Pressing Run: seeds are set, jobs are queued, and a refusal leads to its first reason. */

import { all, setInput } from "../../graph/commands";
import { writeWorkflow } from "../../graph/document";
import { useCatalogue } from "../../state/catalogueStore";
import type { DocumentStore } from "../../state/documentStore";
import { useRunSettings } from "../../state/runSettings";
import { useRuns } from "../../state/runStore";
import { saveNow } from "../../state/saving";
import { useView } from "../../state/viewStore";
import { seedsFor, seedsOf } from "./seeds";

/** Queue the document as often as the settings say. Returns how many runs were taken. */
export async function runDocument(document: DocumentStore, outputs: string[] = []): Promise<number> {
  const { count, seeds, locked } = useRunSettings.getState();
  const { key } = document.getState();
  let taken = 0;
  for (let index = 0; index < count; index += 1) {
    const { workflow, run } = document.getState();
    const fields = seedsOf(workflow, useCatalogue.getState().nodes).filter(
      (field) => !locked.includes(`${key}/${field.node}.${field.input}`),
    );
    const chosen = seedsFor(fields, seeds, seeds === "keep" ? index : 0);
    if (seeds !== "keep") {
      const changes = fields.map(({ node, input }) =>
        setInput("", node, input, chosen[`${node}.${input}`] ?? 0),
      );
      run({ ...all("new seed", changes), merge: "seeds of a run" });
    }
    const overlay = seeds === "keep" && index > 0 ? chosen : {};
    const submission = { workflow: writeWorkflow(document.getState().workflow), inputs: overlay, outputs };
    const job = await useRuns.getState().submit(key, submission);
    if (!job) break;
    taken += 1;
  }
  if (taken) void saveNow(document); // what has results should be there when the page is loaded again
  say(key, taken);
  return taken;
}

function say(key: string, taken: number): void {
  const { announce, reveal, set } = useView.getState();
  if (taken) {
    announce(taken === 1 ? "Run started." : `${taken} runs queued.`);
    return;
  }
  const problems = useRuns.getState().problems[key] ?? [];
  announce(`Not run. ${problems[0]?.message ?? ""}`);
  set({ rightPanel: "problems" });
  const node = problems.find((problem) => problem.node)?.node;
  if (node && useView.getState().mode === "graph") reveal(node);
}
