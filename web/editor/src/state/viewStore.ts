/** What is looked at and how: never undone, never saved with the workflow. */

import { create } from "zustand";
import { persist } from "zustand/middleware";
import type { NodeId, Scope } from "../graph/types";

export type Theme = "system" | "light" | "dark";
export type Mode = "graph" | "form";

interface Settings {
  readonly theme: Theme;
  /** The id of the open panel in each dock, or null. */
  readonly leftPanel: string | null;
  readonly rightPanel: string | null;
  readonly resultsOpen: boolean;
  readonly minimap: boolean;
}

/** A subgraph that was entered, and the node through which. */
export interface Entered {
  readonly scope: Scope;
  readonly node: NodeId;
}

interface View extends Settings {
  readonly mode: Mode;
  /** Subgraphs that were entered, outermost first; empty: the workflow itself. */
  readonly path: readonly Entered[];
  /** Ids of selected nodes and frames in the present scope. */
  readonly selection: ReadonlySet<string>;
  /** Selected links, as `node.input` of the end they lead into. */
  readonly links: ReadonlySet<string>;
  readonly paletteOpen: boolean;
  /** Spoken by screen readers, politely; `count` lets the same sentence be said twice. */
  readonly announcement: { readonly text: string; readonly count: number };
  /** A node that the canvas should bring into view; `count` as above. */
  readonly goal: { readonly node: string; readonly count: number } | null;
}

interface Actions {
  readonly set: (change: Partial<Settings & Pick<View, "mode" | "paletteOpen" | "links">>) => void;
  readonly select: (ids: Iterable<string>) => void;
  readonly enter: (entered: Entered) => void;
  readonly leaveTo: (depth: number) => void;
  readonly announce: (text: string) => void;
  /** Select a node and bring it into view; `path/inside/node` enters nothing, it shows the outermost. */
  readonly reveal: (node: string) => void;
}

export const useView = create<View & Actions>()(
  persist(
    (set) => ({
      theme: "system",
      leftPanel: null,
      rightPanel: "inspector",
      resultsOpen: true,
      minimap: true,
      mode: "graph",
      path: [],
      selection: new Set(),
      links: new Set(),
      paletteOpen: false,
      announcement: { text: "", count: 0 },
      goal: null,
      set: (change) => set(change),
      select: (ids) => set({ selection: new Set(ids) }),
      enter: (entered) =>
        set(({ path }) => ({ path: [...path, entered], selection: new Set(), links: new Set() })),
      leaveTo: (depth) =>
        set(({ path }) => ({ path: path.slice(0, depth), selection: new Set(), links: new Set() })),
      announce: (text) =>
        set(({ announcement }) => ({ announcement: { text, count: announcement.count + 1 } })),
      reveal: (node) =>
        set(({ goal }) => ({
          mode: "graph",
          path: [],
          selection: new Set([node.split("/")[0] ?? node]),
          goal: { node: node.split("/")[0] ?? node, count: (goal?.count ?? 0) + 1 },
        })),
    }),
    {
      name: "sfumato-view",
      partialize: ({ theme, leftPanel, rightPanel, resultsOpen, minimap }): Settings => ({
        theme,
        leftPanel,
        rightPanel,
        resultsOpen,
        minimap,
      }),
    },
  ),
);

/** Return the scope that is looked at. */
export function useScope(): Scope {
  return useView((view) => view.path.at(-1)?.scope ?? "");
}

/** Return the id under which runs know a node of the present scope: `outer/inner`. */
export function useRunId(node: NodeId): string {
  return useView((view) => [...view.path.map((entered) => entered.node), node].join("/"));
}
