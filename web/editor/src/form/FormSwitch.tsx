/** Form or graph; a small screen starts with the form. */

import { useEffect } from "react";
import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import styles from "./form.module.css";

const NARROW = "(max-width: 800px)";

export function FormSwitch() {
  const mode = useView((view) => view.mode);
  const set = useView((view) => view.set);
  useEffect(() => {
    const narrow = window.matchMedia(NARROW);
    const follow = () => narrow.matches && set({ mode: "form", leftPanel: null, resultsOpen: false });
    follow();
    narrow.addEventListener("change", follow);
    return () => narrow.removeEventListener("change", follow);
  }, [set]);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would want a legend
    <div className={styles.switch} role="group" aria-label="View">
      <Button look="plain" aria-pressed={mode === "form"} onClick={() => set({ mode: "form" })}>
        Form
      </Button>
      <Button look="plain" aria-pressed={mode === "graph"} onClick={() => set({ mode: "graph" })}>
        Show graph
      </Button>
    </div>
  );
}
