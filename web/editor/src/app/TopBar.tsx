import { Monitor, Moon, Play, Plus, Redo2, Sun, Undo2, X } from "lucide-react";
import { useStore } from "zustand";
import { perform } from "../commands/registry";
import { emptyWorkflow } from "../graph/document";
import { barItems } from "../panels/registry";
import { createDocument, type DocumentStore } from "../state/documentStore";
import { useRuns } from "../state/runStore";
import { useDocument, useTabs } from "../state/tabs";
import { type Theme, useView } from "../state/viewStore";
import { Button, IconButton } from "../ui/Button";
import { Tooltip } from "../ui/Tooltip";
import css from "./App.module.css";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const ICONS = { system: Monitor, light: Sun, dark: Moon };

export function TopBar() {
  const open = useTabs((tabs) => tabs.open);
  const show = useTabs((tabs) => tabs.show);
  const past = useDocument((d) => d.history.past.at(-1)?.label);
  const future = useDocument((d) => d.history.future.at(-1)?.label);
  const theme = useView((view) => view.theme);
  const set = useView((view) => view.set);
  const Icon = ICONS[theme];
  return (
    <header className={css.bar}>
      <span className={css.logo}>
        <img src="/static/icon.svg" width={20} height={20} alt="" /> Sfumato
      </span>
      <div className={css.tabs}>
        {open.map((store) => (
          <Tab key={store.getState().key} store={store} />
        ))}
        <IconButton label="New workflow" onClick={() => show(createDocument(emptyWorkflow()))}>
          <Plus size={16} />
        </IconButton>
      </div>
      {barItems.map((Item, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a fixed list
        <Item key={place} />
      ))}
      <IconButton
        label={past ? `Undo ${past}` : "Undo"}
        keys="Ctrl+Z"
        disabled={!past}
        onClick={() => perform("undo")}
      >
        <Undo2 size={16} />
      </IconButton>
      <IconButton
        label={future ? `Redo ${future}` : "Redo"}
        keys="Ctrl+Shift+Z"
        disabled={!future}
        onClick={() => perform("redo")}
      >
        <Redo2 size={16} />
      </IconButton>
      <IconButton label={`Theme: ${theme}`} onClick={() => set({ theme: NEXT[theme] })}>
        <Icon size={16} />
      </IconButton>
      <span className={css.gap} />
      <RunButton />
    </header>
  );
}

function Tab({ store }: { store: DocumentStore }) {
  const name = useStore(store, (state) => state.workflow.name);
  const unsaved = useStore(store, (state) => state.save !== "saved");
  const isActive = useTabs((tabs) => tabs.active === store);
  const show = useTabs((tabs) => tabs.show);
  const close = useTabs((tabs) => tabs.close);
  return (
    <div className={css.tab} data-active={isActive}>
      <button type="button" className={css.tabName} aria-current={isActive} onClick={() => show(store)}>
        {name}
        {unsaved && <span title="not saved yet"> •</span>}
      </button>
      <IconButton label={`Close ${name}`} onClick={() => close(store)}>
        <X size={14} />
      </IconButton>
    </div>
  );
}

function RunButton() {
  const key = useDocument((d) => d.key);
  const waiting = useRuns((state) => pending(state.runs, key));
  return (
    <Tooltip text="Run this workflow (Ctrl+Enter). What has not changed is not run again.">
      <Button look="primary" onClick={() => perform("run")}>
        <Play size={14} /> Run{waiting > 0 && ` (${waiting})`}
      </Button>
    </Tooltip>
  );
}

function pending(runs: ReturnType<typeof useRuns.getState>["runs"], key: string): number {
  return Object.values(runs).filter(
    (r) => r.client === key && (r.state === "running" || r.state === "queued"),
  ).length;
}
