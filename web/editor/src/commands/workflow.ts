import { emptyWorkflow } from "../graph/document";
import { leftPanels, rightPanels } from "../panels/registry";
import { createDocument } from "../state/documentStore";
import { saveNow } from "../state/saving";
import { useTabs } from "../state/tabs";
import { useView } from "../state/viewStore";
import type { Action } from "./types";

/** People press Ctrl+S out of habit; what they want to hear is that it is saved. */
async function save(): Promise<void> {
  const { active } = useTabs.getState();
  if (!active) return;
  await saveNow(active);
  const { save: stand } = active.getState();
  useView.getState().announce(stand === "saved" ? "Saved." : "Not saved; the status bar says why.");
}

const panelActions: readonly Action[] = [
  ...leftPanels.map(
    ({ id, title }): Action => ({
      id: `panel.${id}`,
      title: `Show ${title.toLowerCase()}`,
      group: "View",
      run: () => useView.getState().set({ leftPanel: id }),
    }),
  ),
  ...rightPanels.map(
    ({ id, title }): Action => ({
      id: `panel.${id}`,
      title: `Show ${title.toLowerCase()}`,
      group: "View",
      run: () => useView.getState().set({ rightPanel: id }),
    }),
  ),
];

export const workflowActions: readonly Action[] = [
  { id: "save", title: "Save now", group: "Workflow", keys: ["Mod+S"], global: true, run: () => void save() },
  {
    id: "new",
    title: "New workflow",
    group: "Workflow",
    run: () => useTabs.getState().show(createDocument(emptyWorkflow())),
  },
  ...panelActions,
];
