/** All that is wrong with a document, in one list. Pure. */

import { specOf } from "../../graph/links";
import type { Catalogue, Problem, Workflow } from "../../graph/types";
import type { Run } from "../../state/runs";

export interface Listed extends Problem {
  /** The title of the node it is at, or "" for the workflow. */
  readonly title: string;
}

/** Join what the server found before a run and what went wrong in the newest one; each sentence once for a place. */
export function listed(
  workflow: Workflow,
  catalogue: Catalogue,
  found: readonly Problem[],
  run: Run | undefined,
): Listed[] {
  const fromNodes = Object.entries(run?.nodes ?? {}).flatMap(([node, { problems }]) =>
    problems.map((problem) => ({ ...problem, node: problem.node ?? node })),
  );
  const seen = new Set<string>();
  return [...found, ...fromNodes, ...(run?.problems ?? [])].flatMap((problem) => {
    const key = `${problem.node}.${problem.field}: ${problem.message}`;
    if (seen.has(key)) return [];
    seen.add(key);
    return [{ ...problem, title: problem.node ? titleOf(workflow, catalogue, problem.node) : "" }];
  });
}

/** Return what people call a node; of one inside subgraphs, what is around it. */
export function titleOf(workflow: Workflow, catalogue: Catalogue, path: string): string {
  const outer = path.split("/")[0] ?? path;
  if (!workflow.nodes[outer]) return path;
  return workflow.layout.nodes[outer]?.title ?? specOf(workflow, catalogue, "", outer).title;
}
