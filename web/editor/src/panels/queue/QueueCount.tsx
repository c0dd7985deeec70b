/** In the status bar: what runs and waits. */

import { useRuns } from "../../state/runStore";
import { useView } from "../../state/viewStore";
import styles from "./queue.module.css";

export function QueueCount() {
  const { paused, counts } = useRuns((state) => state.queue);
  const set = useView((view) => view.set);
  const [running, waiting] = [counts.running ?? 0, counts.queued ?? 0];
  const text = running || waiting ? `${running} running, ${waiting} waiting` : "Nothing runs";
  return (
    <button type="button" className={styles.count} onClick={() => set({ leftPanel: "queue" })}>
      {text}
      {paused ? " (held)" : ""}
    </button>
  );
}
