/** What is wrong, one sentence each; a press goes there. */

import { useView } from "../../state/viewStore";
import { goTo } from "./goTo";
import styles from "./problems.module.css";
import { useProblems } from "./useProblems";

export function ProblemsPanel() {
  const problems = useProblems();
  const selection = useView((view) => view.selection);
  if (!problems.length)
    return <p className={styles.none}>Nothing is wrong. F8 goes through problems when there are some.</p>;
  return (
    <ol className={styles.list}>
      {problems.map((problem) => (
        <li key={`${problem.node}.${problem.field}.${problem.message}`}>
          <button
            type="button"
            aria-current={problem.node !== undefined && selection.has(problem.node.split("/")[0] ?? "")}
            disabled={!problem.node}
            onClick={() => goTo(problem)}
          >
            <strong>{[problem.title || "Workflow", problem.field].filter(Boolean).join(" · ")}</strong>
            <span>{problem.message}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}
