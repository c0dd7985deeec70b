/** The node types of this server. */

import { create } from "zustand";
import type { Catalogue } from "../graph/types";
import { ApiError, api } from "../server/api";

const RETRY_MS = 700;

interface CatalogueState {
  readonly nodes: Catalogue;
  readonly hash: string;
  /** `loading` also while the worker still reads the nodes. */
  readonly state: "loading" | "ready" | "failed";
  readonly message: string;
  readonly load: () => Promise<void>;
  /** Have the server look for new files and nodes. */
  readonly refresh: () => Promise<void>;
}

export const useCatalogue = create<CatalogueState>((set, get) => ({
  nodes: new Map(),
  hash: "",
  state: "loading",
  message: "",
  load: async () => {
    try {
      set({ ...(await api.catalogue()), state: "ready", message: "" });
    } catch (error) {
      const fault = error instanceof ApiError ? error : null;
      const passes = fault !== null && (fault.status === 503 || fault.status === 0);
      set({ state: passes ? "loading" : "failed", message: fault?.message ?? String(error) });
      if (passes) {
        await new Promise((done) => setTimeout(done, RETRY_MS));
        await get().load();
      }
    }
  },
  refresh: async () => set({ ...(await api.refreshCatalogue()), state: "ready" }),
}));
