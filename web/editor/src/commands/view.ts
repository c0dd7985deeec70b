import { runDocument } from "../panels/run/runDocument";
import { useCanvas } from "../state/canvasPort";
import { useRuns } from "../state/runStore";
import { useTabs } from "../state/tabs";
import { useView } from "../state/viewStore";
import type { Action, Context } from "./types";

function runActive(): void {
  const { active } = useTabs.getState();
  if (active) void runDocument(active);
}

function stop({ document }: Context): void {
  const { runs } = useRuns.getState();
  for (const run of Object.values(runs))
    if (run.client === document.key && (run.state === "running" || run.state === "queued"))
      void useRuns.getState().cancel(run.id);
}

export const viewActions: readonly Action[] = [
  {
    id: "run",
    title: "Run",
    group: "Run",
    keys: ["Mod+Enter"],
    global: true,
    run: runActive,
  },
  {
    id: "stop",
    title: "Stop the runs of this workflow",
    group: "Run",
    keys: ["Mod+Alt+Enter"],
    global: true,
    run: stop,
  },
  {
    id: "palette",
    title: "Find a node or command",
    group: "View",
    keys: ["Mod+K", "Space"],
    run: () => useView.getState().set({ paletteOpen: true }),
  },
  {
    id: "fit",
    title: "Show everything",
    group: "View",
    keys: ["Shift+1", "Shift+!", "F"],
    run: ({ selection }) => useCanvas.getState().port?.fit(selection.length ? selection : undefined),
  },
  {
    id: "zoomIn",
    title: "Zoom in",
    group: "View",
    keys: ["Mod+=", "Mod++"],
    run: () => useCanvas.getState().port?.zoom(1.25),
  },
  {
    id: "zoomOut",
    title: "Zoom out",
    group: "View",
    keys: ["Mod+-"],
    run: () => useCanvas.getState().port?.zoom(0.8),
  },
  {
    id: "minimap",
    title: "Show or hide the minimap",
    group: "View",
    run: () => useView.getState().set({ minimap: !useView.getState().minimap }),
  },
  {
    id: "mode",
    title: "Switch between form and graph",
    group: "View",
    keys: ["Mod+Shift+F"],
    run: () => useView.getState().set({ mode: useView.getState().mode === "form" ? "graph" : "form" }),
  },
];
