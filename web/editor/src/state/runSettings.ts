/** How Run runs: how often, and what becomes of the seeds. Remembered by this browser. */

import { create } from "zustand";
import { persist } from "zustand/middleware";

/** What happens to the seeds before each run. */
export type SeedMode = "keep" | "next" | "random";

interface RunSettings {
  readonly count: number;
  readonly seeds: SeedMode;
  /** Seeds that stay as they are, `document/node.input`. */
  readonly locked: readonly string[];
  readonly set: (change: Partial<Pick<RunSettings, "count" | "seeds" | "locked">>) => void;
}

export const COUNT_MAX = 100;

export const useRunSettings = create<RunSettings>()(
  persist((set) => ({ count: 1, seeds: "keep", locked: [], set: (change) => set(change) }), {
    name: "sfumato-run",
  }),
);
