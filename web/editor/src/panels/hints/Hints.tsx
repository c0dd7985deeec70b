/** After the first result, three things worth knowing, one at a time; each is gone for ever once it was read. */

import { X } from "lucide-react";
import { create } from "zustand";
import { persist } from "zustand/middleware";
import { useLatestRun } from "../../state/runStore";
import { useDocument } from "../../state/tabs";
import { IconButton } from "../../ui/Button";
import styles from "./hints.module.css";

const HINTS = [
  "Change the prompt and run again: only nodes that the change reaches run.",
  "Drag from a node's dot into the open to add a node that fits.",
  "More methods are in the Gallery, each with a form to start from.",
] as const;

const useRead = create<{ count: number; next: () => void }>()(
  persist((set) => ({ count: 0, next: () => set(({ count }) => ({ count: count + 1 })) }), {
    name: "sfumato-hints",
  }),
);

export function Hints() {
  const { count, next } = useRead();
  const key = useDocument((d) => d.key);
  const isDone = useLatestRun(key)?.state === "done";
  const hint = HINTS[count];
  if (!hint || !isDone) return null;
  return (
    <aside className={styles.hint} aria-label="Hint">
      <span>{hint}</span>
      <IconButton label="Got it" onClick={next}>
        <X size={14} />
      </IconButton>
    </aside>
  );
}
