/** In the status bar: how many problems there are. */

import { CircleAlert } from "lucide-react";
import { useView } from "../../state/viewStore";
import styles from "./problems.module.css";
import { useProblems } from "./useProblems";

export function ProblemCount() {
  const count = useProblems().length;
  const set = useView((view) => view.set);
  if (!count) return null;
  return (
    <button type="button" className={styles.count} onClick={() => set({ rightPanel: "problems" })}>
      <CircleAlert size={13} /> {count === 1 ? "1 problem" : `${count} problems`} (F8)
    </button>
  );
}
