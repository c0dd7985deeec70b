import { PanelRight } from "lucide-react";
import { rightPanels, statusItems } from "../panels/registry";
import { useRuns } from "../state/runStore";
import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import css from "./App.module.css";

const CONNECTION = { connecting: "Connecting…", open: "Connected", lost: "Not connected, trying again…" };

export function StatusBar() {
  const connection = useRuns((runs) => runs.connection);
  const isOpen = useView((view) => view.rightPanel !== null);
  const set = useView((view) => view.set);
  return (
    <footer className={css.status}>
      <span>{CONNECTION[connection]}</span>
      {statusItems.map((Item, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a fixed list
        <Item key={place} />
      ))}
      <span className={css.end} />
      {rightPanels.length > 0 && (
        <Button
          look="plain"
          aria-pressed={isOpen}
          onClick={() => set({ rightPanel: isOpen ? null : (rightPanels[0]?.id ?? null) })}
        >
          <PanelRight size={14} /> Side panel
        </Button>
      )}
    </footer>
  );
}
