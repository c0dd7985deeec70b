/** One store for each open document: the workflow, its undo history, and how it stands with the server. */

import { createStore, type StoreApi } from "zustand/vanilla";
import { execute, type History, NO_HISTORY, redo, undo } from "../graph/history";
import type { Command, Workflow } from "../graph/types";

/** `conflict`: somebody saved a newer revision; nothing of theirs is overwritten. */
export type SaveState = "saved" | "dirty" | "saving" | "conflict" | "failed";

export interface DocumentState {
  /** Stays the same while the page is open, before and after the first save. */
  readonly key: string;
  readonly workflow: Workflow;
  readonly history: History;
  /** The ready-made workflow it was opened from, `group/id`: its help, and its example result until there is one's own. */
  readonly example: string | null;
  /** The revision on the server that this grew from; null before the first save. */
  readonly server: { readonly id: string; readonly revision: number } | null;
  readonly save: SaveState;
  readonly savedAt: number | null;
  /** Another browser tab has this document open for writing. */
  readonly readOnly: boolean;
  /** Apply a command as one step of undo; ignored while read-only. */
  readonly run: (command: Command) => void;
  /** Take the last step back; returns its label, or null. */
  readonly undo: () => string | null;
  readonly redo: () => string | null;
  /** Put another workflow in place (a restored revision) as one step of undo. */
  readonly replace: (workflow: Workflow, label: string) => void;
  /** For autosave: note how the document stands with the server. */
  readonly note: (stand: Partial<Pick<DocumentState, "server" | "save" | "savedAt" | "readOnly">>) => void;
}

export type DocumentStore = StoreApi<DocumentState>;

/** Make the store of a document that was read from a file or the server. */
export function createDocument(
  workflow: Workflow,
  server: DocumentState["server"] = null,
  example: string | null = null,
): DocumentStore {
  return createStore<DocumentState>((set, get) => {
    const travel = (way: typeof undo): string | null => {
      const { workflow: now, history, readOnly, save } = get();
      const there = readOnly ? null : way({ workflow: now, history });
      if (!there) return null;
      set({ workflow: there.workflow, history: there.history, save: unsaved(save) });
      return there.label;
    };
    const run = (command: Command): void => {
      const { workflow: before, history, readOnly, save } = get();
      if (readOnly) return;
      const after = execute({ workflow: before, history }, command, Date.now());
      if (after.workflow !== before) set({ ...after, save: unsaved(save) });
    };
    return {
      key: server?.id ?? newKey(),
      example,
      workflow,
      history: NO_HISTORY,
      server,
      save: server ? "saved" : "dirty",
      savedAt: null,
      readOnly: false,
      run,
      undo: () => travel(undo),
      redo: () => travel(redo),
      replace: (next, label) => run({ label, apply: (draft) => void Object.assign(draft, next) }),
      note: (stand) => set(stand),
    };
  });
}

/** A conflict stays one until somebody decides. */
function unsaved(save: SaveState): SaveState {
  return save === "conflict" ? save : "dirty";
}

function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID is missing on plain http
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
