/** What runs, ran and waits. Fed by the socket; knows nothing of the document's undo. */

import { create } from "zustand";
import type { JsonObject, Problem } from "../graph/types";
import { ApiError, api, type Submission } from "../server/api";
import { type QueueStatus, zShownFiles } from "../server/messages";
import { type Connection, listen } from "../server/socket";
import { afterEvent, afterStep, fromSummary, type NodeRun, type Run, withPreview } from "./runs";

interface RunState {
  readonly connection: Connection;
  readonly runs: Readonly<Record<string, Run>>;
  /** The newest run of each document, by the document's key. */
  readonly latest: Readonly<Record<string, string>>;
  readonly queue: QueueStatus;
  /** What the server found wrong when a document was run last, by the document's key. */
  readonly problems: Readonly<Record<string, readonly Problem[]>>;
  /** Start listening; returns how to stop. */
  readonly connect: () => Promise<() => void>;
  /** Queue a workflow for a document; the reasons of a refusal go to `problems`. Returns the job's id or null. */
  readonly submit: (document: string, submission: Submission) => Promise<string | null>;
  /** Ask the server again for queue and history: after a start, or when it began anew. */
  readonly refresh: () => Promise<void>;
  readonly cancel: (job: string) => Promise<void>;
  readonly setProblems: (document: string, problems: readonly Problem[]) => void;
}

export const useRuns = create<RunState>((set, get) => ({
  connection: "connecting",
  runs: {},
  latest: {},
  queue: { paused: false, counts: {} },
  problems: {},

  connect: async () => {
    // The number first: what happens while the lists are read is told again, and changes nothing twice.
    const since = Math.max(0, (await api.system().catch(() => null))?.seq ?? 0);
    await get().refresh();
    return listen(
      {
        onConnection: (connection) => set({ connection }),
        onEvents: (events) => {
          const unknown = new Set<string>();
          set(({ runs, latest }) => {
            const next = { ...runs };
            for (const event of events) {
              const run = next[event.job];
              if (run) next[run.id] = afterEvent(run, event);
              else if (event.job) unknown.add(event.job);
            }
            return { runs: next, latest };
          });
          for (const job of unknown) void adopt(job);
          if (events.some((event) => /^(job|queue)_/.test(event.kind))) void refreshQueue();
        },
        onFrame: (frame) => {
          const run = frame.job ? get().runs[frame.job] : undefined;
          if (run) set(({ runs }) => ({ runs: { ...runs, [run.id]: afterStep(run, frame.kind, frame) } }));
        },
        onPreview: (frame, picture) => {
          const run = frame.job ? get().runs[frame.job] : undefined;
          if (run?.state !== "running" || typeof frame.node !== "string") return;
          const old = run.nodes[frame.node]?.preview;
          const url = URL.createObjectURL(picture);
          set(({ runs }) => ({ runs: { ...runs, [run.id]: withPreview(run, String(frame.node), url) } }));
          if (old) setTimeout(() => URL.revokeObjectURL(old), 1000); // not before the new one is painted
        },
        onReset: () => {
          set({ runs: {}, latest: {} });
          void get().refresh();
        },
      },
      since,
    );
  },

  submit: async (document, submission) => {
    try {
      const job = await api.submit({ ...submission, client: document });
      set(({ runs, latest, problems }) => ({
        runs: { ...runs, [job.id]: fromSummary(job, runs[job.id]) },
        latest: { ...latest, [document]: job.id },
        problems: { ...problems, [document]: [] },
      }));
      return job.id;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const found = error.problems.length ? error.problems : [{ code: error.code, message: error.message }];
      set(({ problems }) => ({ problems: { ...problems, [document]: found } }));
      return null;
    }
  },

  refresh: async () => {
    const [queue, history] = await Promise.all([
      api.jobs({ list: "queue", limit: 200 }),
      api.jobs({ list: "history", limit: 50 }),
    ]);
    const jobs = [...history.jobs, ...queue.jobs].sort((a, b) => a.created - b.created);
    set(({ runs, latest }) => ({
      runs: { ...runs, ...Object.fromEntries(jobs.map((job) => [job.id, fromSummary(job, runs[job.id])])) },
      latest: { ...latest, ...Object.fromEntries(jobs.filter((j) => j.client).map((j) => [j.client, j.id])) },
    }));
    for (const job of queue.jobs) if (job.state === "running") void adopt(job.id);
    await refreshQueue();
  },

  cancel: async (job) => {
    const summary = await api.cancelJob(job);
    set(({ runs }) => ({ runs: { ...runs, [job]: fromSummary(summary, runs[job]) } }));
  },

  setProblems: (document, found) => set(({ problems }) => ({ problems: { ...problems, [document]: found } })),
}));

/** Learn of a job that somebody else queued, or that ran before this page was opened. */
async function adopt(id: string): Promise<void> {
  const run = await told(id).catch(() => null); // it may have been forgotten
  if (!run) return;
  if ((useRuns.getState().runs[id]?.seq ?? 0) > run.seq) return adopt(id); // more has happened while we asked
  useRuns.setState(({ runs, latest }) => ({
    runs: { ...runs, [id]: run },
    latest: run.client ? { ...latest, [run.client]: newer(runs, latest, run) } : latest,
  }));
}

/** Return a run as all its events tell it, a page of them at a time. */
async function told(id: string): Promise<Run> {
  let run = fromSummary(await api.job(id));
  for (;;) {
    const { events } = await api.jobEvents(id, run.seq);
    if (!events.length) return run;
    run = events.reduce(afterEvent, run);
  }
}

function newer(runs: RunState["runs"], latest: RunState["latest"], run: Run): string {
  const last = runs[latest[run.client] ?? ""];
  return last && last.created > run.created ? last.id : run.id;
}

async function refreshQueue(): Promise<void> {
  const queue = await api.queue().catch(() => null);
  if (queue) useRuns.setState({ queue });
}

/** Load what a run's nodes showed, for runs that ended before this page was opened. */
export const loadRun = adopt;

/** Return the newest run of a document. */
export function useLatestRun(document: string): Run | undefined {
  return useRuns(({ runs, latest }) => runs[latest[document] ?? ""]);
}

/** Return how a node stands in the newest run of a document; for a subgraph, how what is inside stands. */
export function useNodeRun(document: string, node: string): NodeRun | undefined {
  return useRuns(({ runs, latest }) => nodeRun(runs[latest[document] ?? ""], node));
}

function nodeRun(run: Run | undefined, node: string): NodeRun | undefined {
  if (!run) return undefined;
  const own = run.nodes[node];
  if (own) return own;
  let found: NodeRun | undefined;
  for (const [id, inner] of Object.entries(run.nodes)) {
    if (!id.startsWith(`${node}/`)) continue;
    if (inner.state === "failed" || inner.state === "running") return inner;
    found = inner;
  }
  return found;
}

export interface ShownFile {
  readonly digest: string;
  readonly name: string;
  readonly media: string;
}

/** Return the pictures among what a node showed. */
export function picturesOf(ui: readonly JsonObject[]): ShownFile[] {
  return ui
    .flatMap((item) => zShownFiles.safeParse(item).data?.files ?? [])
    .filter((f) => f.media.startsWith("image/"));
}
