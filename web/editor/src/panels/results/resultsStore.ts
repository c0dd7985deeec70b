/** Results of ended jobs, loaded a page of the history at a time, and what the viewer shows. */

import { useMemo } from "react";
import { create } from "zustand";
import { useShallow } from "zustand/react/shallow";
import { api } from "../../server/api";
import { useRuns } from "../../state/runStore";
import { merged, type Result, resultsOfJob, resultsOfRun } from "./results";

const PAGE = 60;

interface ResultsState {
  readonly past: readonly Result[];
  /** Where the next page of the history begins; null at its end. */
  readonly cursor: string | null;
  readonly loaded: boolean;
  /** The result in the viewer, and the one it is compared with. */
  readonly viewed: Result | null;
  readonly other: Result | null;
  readonly load: () => Promise<void>;
  readonly more: () => Promise<void>;
  readonly view: (result: Result | null, other?: Result | null) => void;
  readonly forget: (job: string) => Promise<void>;
}

export const useResults = create<ResultsState>((set, get) => ({
  past: [],
  cursor: null,
  loaded: false,
  viewed: null,
  other: null,
  load: async () => {
    const page = await api.jobs({ list: "history", limit: PAGE });
    set({ past: page.jobs.flatMap(resultsOfJob), cursor: page.cursor, loaded: true });
  },
  more: async () => {
    const { cursor } = get();
    if (cursor === null) return;
    const page = await api.jobs({ list: "history", limit: PAGE, cursor });
    set(({ past }) => ({ past: [...past, ...page.jobs.flatMap(resultsOfJob)], cursor: page.cursor }));
  },
  view: (viewed, other = null) => set({ viewed, other }),
  forget: async (job) => {
    await api.forgetJob(job);
    set(({ past, viewed }) => ({
      past: past.filter((r) => r.job !== job),
      viewed: viewed?.job === job ? null : viewed,
    }));
    useRuns.setState(({ runs }) => ({
      runs: Object.fromEntries(Object.entries(runs).filter(([id]) => id !== job)),
    }));
  },
}));

/** Return all results that are known, newest first: of what runs now and of the history. */
export function useAllResults(): readonly Result[] {
  const past = useResults((state) => state.past);
  // Progress changes runs ten times a second; only what nodes show, and when a run ended, matters here.
  const shown = useRuns(
    useShallow(({ runs }) =>
      Object.values(runs).flatMap((run) => [run.ended, ...Object.values(run.nodes).map((node) => node.ui)]),
    ),
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: `shown` says when to look at the runs again
  return useMemo(
    () => merged(Object.values(useRuns.getState().runs).flatMap(resultsOfRun), past),
    [past, shown],
  );
}
