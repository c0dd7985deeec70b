import type { Problem } from "../graph/types";
import { useRuns } from "../state/runStore";
import { useDocument } from "../state/tabs";
import { useRunId } from "../state/viewStore";

const NONE: readonly Problem[] = [];
const byNode = new WeakMap<readonly Problem[], Map<string, Problem[]>>();

/** Return what is wrong with a node of the present scope: found by the check, or told by the run that failed. */
export function useNodeProblems(id: string): readonly Problem[] {
  const key = useDocument((document) => document.key);
  const full = useRunId(id);
  return useRuns(({ problems, runs, latest }) => {
    const checked = index(problems[key] ?? NONE).get(full);
    const failed = runs[latest[key] ?? ""]?.nodes[full]?.problems;
    return checked ?? (failed?.length ? failed : NONE);
  });
}

function index(problems: readonly Problem[]): Map<string, Problem[]> {
  const known = byNode.get(problems);
  if (known) return known;
  const made = new Map<string, Problem[]>();
  for (const problem of problems) {
    if (problem.node) made.set(problem.node, [...(made.get(problem.node) ?? []), problem]);
  }
  byNode.set(problems, made);
  return made;
}
