/** Seeds before a run: which inputs are seeds, and what they become. Pure. */

import { isLink, unescapeValue } from "../../graph/document";
import { specOf } from "../../graph/links";
import type { Catalogue, NodeId, Workflow } from "../../graph/types";
import type { SeedMode } from "../../state/runSettings";

export interface SeedField {
  readonly node: NodeId;
  readonly input: string;
  readonly value: number;
  readonly high: number;
}

const READABLE = 2 ** 32; // random seeds stay short enough to read out

/** Return the seeds of the workflow itself that are values, not links. */
export function seedsOf(workflow: Workflow, catalogue: Catalogue): SeedField[] {
  return Object.entries(workflow.nodes).flatMap(([node, { inputs }]) =>
    specOf(workflow, catalogue, "", node).inputs.flatMap((spec) => {
      const said = inputs[spec.name];
      if (spec.widget !== "seed" || isLink(said)) return [];
      const value = said === undefined ? spec.default : unescapeValue(said);
      return [
        { node, input: spec.name, value: typeof value === "number" ? value : 0, high: spec.high ?? READABLE },
      ];
    }),
  );
}

/** Return the seeds of run number `index` (from 0): `{"node.input": seed}`, to lay over the workflow. */
export function seedsFor(
  fields: readonly SeedField[],
  mode: SeedMode,
  index: number,
  random: () => number = Math.random,
): Record<string, number> {
  const drawn = Math.floor(random() * READABLE);
  return Object.fromEntries(
    fields.map(({ node, input, value, high }) => {
      if (mode === "random") return [`${node}.${input}`, drawn % (high + 1)];
      // A batch that keeps its seed would give one picture many times, so it counts on without changing the file.
      return [`${node}.${input}`, (value + index + (mode === "next" ? 1 : 0)) % (high + 1)];
    }),
  );
}
