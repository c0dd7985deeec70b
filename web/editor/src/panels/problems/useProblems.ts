import { useMemo } from "react";
import { useCatalogue } from "../../state/catalogueStore";
import { useLatestRun, useRuns } from "../../state/runStore";
import { useDocument } from "../../state/tabs";
import { type Listed, listed } from "./problems";

const NONE: readonly never[] = [];

/** Return what is wrong with the document that is looked at. */
export function useProblems(): readonly Listed[] {
  const key = useDocument((d) => d.key);
  const workflow = useDocument((d) => d.workflow);
  const catalogue = useCatalogue((state) => state.nodes);
  const found = useRuns((state) => state.problems[key]) ?? NONE;
  const run = useLatestRun(key);
  return useMemo(() => listed(workflow, catalogue, found, run), [workflow, catalogue, found, run]);
}
