/** F8 and Shift+F8 go through the problems; the server is asked for them whenever the workflow has changed. */

import { useEffect, useRef } from "react";
import { writeWorkflow } from "../../graph/document";
import { ApiError, api } from "../../server/api";
import { useRuns } from "../../state/runStore";
import { useDocument } from "../../state/tabs";
import { useView } from "../../state/viewStore";
import { goTo } from "./goTo";
import { useProblems } from "./useProblems";

const QUIET_MS = 700;

export function ProblemKeys() {
  const problems = useProblems();
  const at = useRef(-1);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key !== "F8") return;
      event.preventDefault();
      const count = problems.length;
      if (!count) {
        useView.getState().announce("There are no problems.");
        return;
      }
      at.current = (at.current + (event.shiftKey ? -1 : 1) + count) % count;
      const problem = problems[at.current];
      if (problem) goTo(problem);
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [problems]);
  useValidation();
  return null;
}

/** Ask what is wrong once nothing has changed for a moment; an empty workflow is not asked about. */
function useValidation(): void {
  const key = useDocument((d) => d.key);
  const workflow = useDocument((d) => d.workflow);
  const connection = useRuns((state) => state.connection);
  useEffect(() => {
    if (connection !== "open") return;
    let stale = false;
    const timer = setTimeout(async () => {
      const isEmpty = Object.keys(workflow.nodes).length === 0;
      const verdict = isEmpty ? { problems: [] } : await api.validate(writeWorkflow(workflow)).catch(known);
      if (!stale && verdict)
        useRuns.setState(({ problems }) => ({ problems: { ...problems, [key]: verdict.problems } }));
    }, QUIET_MS);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [key, workflow, connection]);
}

/** While the server cannot answer, what was known stays. */
function known(error: unknown): null {
  if (error instanceof ApiError) return null;
  throw error;
}
