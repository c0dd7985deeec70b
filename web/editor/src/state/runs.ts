/** What is known of runs, as a pure function of events: no clock, no network. */

import type { JsonObject, Problem } from "../graph/types";
import {
  type Frame,
  type JobEvent,
  type JobState,
  type JobSummary,
  type StepData,
  zProblem,
  zStep,
} from "../server/messages";

export type StepState = "waiting" | "running" | "done" | "reused" | "failed" | "skipped";

export type Curve = readonly (readonly [done: number, value: number])[];

export interface NodeRun {
  readonly state: StepState;
  readonly done: number;
  readonly total: number;
  readonly rate: number | null;
  readonly left: number | null;
  readonly seconds: number;
  /** Why it ran (again). */
  readonly why: string;
  readonly note: string;
  /** Numbers that it reported as it went, by name: `done` and value of each. */
  readonly figures: Readonly<Record<string, Curve>>;
  readonly problems: readonly Problem[];
  /** What it shows people: saved files, text. */
  readonly ui: readonly JsonObject[];
  /** An object URL of the newest preview, only while it runs. */
  readonly preview: string | null;
}

export interface Run {
  readonly id: string;
  /** The number of the newest event that is in here; 0: all that is known comes from a list of jobs. */
  readonly seq: number;
  readonly state: JobState;
  readonly paused: boolean;
  readonly stopping: boolean;
  /** The key of the document it was run from. */
  readonly client: string;
  readonly created: number;
  readonly started: number | null;
  readonly ended: number | null;
  readonly steps: number;
  readonly problems: readonly Problem[];
  /** By node id; inside subgraphs `outer/inner`. */
  readonly nodes: Readonly<Record<string, NodeRun>>;
}

const FRESH: NodeRun = {
  state: "waiting",
  done: 0,
  total: 0,
  rate: null,
  left: null,
  seconds: 0,
  why: "",
  note: "",
  figures: {},
  problems: [],
  ui: [],
  preview: null,
};

/** Return a run as lists describe it. Once events have told of a run they are the truth: a list may be older. */
export function fromSummary(job: JobSummary, known?: Run): Run {
  if (known && known.seq > 0) return known;
  const { id, state, paused, stopping, client, created, started, ended, problems } = job;
  const told = { id, state, paused, stopping, client, created, started, ended, problems };
  return { ...told, seq: 0, steps: known?.steps ?? 0, nodes: known?.nodes ?? {} };
}

/** Return a run after a durable event; one that is in there already changes nothing. */
export function afterEvent(run: Run, event: JobEvent): Run {
  return event.seq > run.seq ? { ...changed(run, event), seq: event.seq } : run;
}

function changed(run: Run, event: JobEvent): Run {
  switch (event.kind) {
    case "job_queued":
    case "job_requeued":
      return { ...run, state: "queued", stopping: false, ended: null };
    case "job_started":
      return { ...run, state: "running", started: event.at, nodes: {}, problems: [] };
    case "job_stopping":
      return { ...run, stopping: true };
    case "job_paused":
      return { ...run, paused: true };
    case "job_resumed":
      return { ...run, paused: false };
    case "job_done":
      return ended(run, "done", event);
    case "job_failed":
      return ended(run, "failed", event);
    case "job_cancelled":
      return ended(run, "cancelled", event);
    case "job_parked":
      return ended(run, "parked", event);
    case "run_started":
      return { ...run, steps: typeof event.data.steps === "number" ? event.data.steps : run.steps };
    default:
      return afterStep(run, event.kind, event.data);
  }
}

/** Return a run after a step's event or frame; what is not about a step changes nothing. */
export function afterStep(run: Run, kind: string, data: JobEvent["data"] | Frame): Run {
  const step = kind.startsWith("step_") ? zStep.safeParse(data).data : undefined;
  if (!step) return run;
  const before = run.nodes[step.node] ?? FRESH;
  const change = stepChange(kind, step, before);
  if (!change) return run;
  const late = kind === "step_progress" && before.state !== "running" && before.state !== "waiting";
  return late ? run : { ...run, nodes: { ...run.nodes, [step.node]: { ...before, ...change } } };
}

/** Return a run with a picture of work in progress on a node. */
export function withPreview(run: Run, node: string, url: string): Run {
  const before = run.nodes[node] ?? FRESH;
  return { ...run, nodes: { ...run.nodes, [node]: { ...before, preview: url } } };
}

function stepChange(kind: string, step: StepData, before: NodeRun): Partial<NodeRun> | null {
  switch (kind) {
    case "step_started":
      return { ...FRESH, state: "running", why: step.why };
    case "step_progress":
      return {
        state: "running",
        done: step.done,
        total: step.total,
        rate: step.rate,
        left: step.left,
        note: step.note,
        figures: withFigures(before.figures, step),
      };
    case "step_done":
      return {
        state: "done",
        seconds: step.seconds,
        why: step.why,
        ui: step.ui,
        preview: null,
        problems: [],
      };
    case "step_cached":
      return { state: "reused", ui: step.ui, preview: null, problems: [] };
    case "step_failed":
      return { state: "failed", problems: step.problems, preview: null };
    case "step_skipped":
      return { state: "skipped", note: `Not run: ${step.because} failed.`, preview: null };
    default:
      return null;
  }
}

const POINTS_MAX = 1000;

/** Add what was reported to the curves. A count that begins anew begins its curves anew; long ones are thinned. */
function withFigures(figures: NodeRun["figures"], { done, figures: told }: StepData): NodeRun["figures"] {
  const curves = Object.entries(told).map(([name, value]): [string, Curve] => {
    const known = figures[name] ?? [];
    const kept = (known.at(-1)?.[0] ?? -1) < done ? known : [];
    return [name, [...(kept.length < POINTS_MAX ? kept : kept.filter((_, n) => n % 2 === 0)), [done, value]]];
  });
  return curves.length ? { ...figures, ...Object.fromEntries(curves) } : figures;
}

function ended(run: Run, state: JobState, event: JobEvent): Run {
  const problems = zProblem.array().safeParse(event.data.problems).data ?? run.problems;
  return { ...run, state, ended: event.at, stopping: false, problems };
}
