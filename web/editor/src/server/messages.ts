/** The shape of everything the server says, checked at the door. */

import { z } from "zod";
import type { Catalogue, Json, JsonObject, NodeSpec } from "../graph/types";

z.config({ jitless: true }); // the page's policy forbids code made at run time

const zJson = z.custom<Json>((value) => value !== undefined);
const zObject = z.custom<JsonObject>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
);

export const zProblem = z.object({
  code: z.string(),
  message: z.string(),
  node: z.string().optional(),
  field: z.string().optional(),
});

const zInput = z.object({
  name: z.string(),
  type: z.string(),
  required: z.boolean().default(true),
  default: zJson.default(null),
  low: z.number().nullable().default(null),
  high: z.number().nullable().default(null),
  step: z.number().nullable().default(null),
  choices: z.array(z.string()).nullable().default(null),
  multiline: z.boolean().default(false),
  max_length: z.number().nullable().default(null),
  file: z.string().nullable().default(null),
  widget: z.string().nullable().default(null),
  widget_options: zObject.default({}),
  lazy: z.boolean().default(false),
  list: z.boolean().default(false),
  help: z.string().default(""),
});

const zOutput = z.object({ name: z.string(), type: z.string(), list: z.boolean().default(false) });

const zNode = z.object({
  id: z.string(),
  title: z.string(),
  category: z.string(),
  version: z.number(),
  doc: z.string(),
  inputs: z.array(zInput),
  outputs: z.array(zOutput),
  effect: z.boolean().default(false),
  output: z.boolean().default(false),
  pack: z.string().default(""),
});

export const zCatalogue = z
  .object({ hash: z.string(), nodes: z.array(zNode) })
  .transform(({ hash, nodes }): { hash: string; nodes: Catalogue } => ({
    hash,
    nodes: new Map(nodes.map((node): [string, NodeSpec] => [node.id, node])),
  }));

export const zJobState = z.enum(["queued", "running", "done", "failed", "cancelled", "parked"]);
export type JobState = z.infer<typeof zJobState>;

export const zJobSummary = z.object({
  id: z.string(),
  state: zJobState,
  priority: z.number(),
  paused: z.boolean(),
  stopping: z.boolean(),
  client: z.string(),
  key: z.string().nullable(),
  attempt: z.number(),
  created: z.number(),
  started: z.number().nullable(),
  ended: z.number().nullable(),
  outputs: zObject,
  problems: z.array(zProblem),
});
export type JobSummary = z.infer<typeof zJobSummary>;

export const zJob = zJobSummary.extend({ workflow: zObject, wanted: z.array(z.string()), inputs: zObject });
export type Job = z.infer<typeof zJob>;

export const zJobPage = z.object({ jobs: z.array(zJobSummary), cursor: z.string().nullable() });

export const zQueue = z.object({ paused: z.boolean(), counts: z.record(z.string(), z.number()) });
export type QueueStatus = z.infer<typeof zQueue>;

export const zDocumentSummary = z.object({
  id: z.string(),
  name: z.string(),
  revision: z.number(),
  created: z.number(),
  saved: z.number(),
});
export type DocumentSummary = z.infer<typeof zDocumentSummary>;

export const zDocument = zDocumentSummary.extend({ workflow: zObject });
export type ServerDocument = z.infer<typeof zDocument>;

export const zStored = z.looseObject({ name: z.string(), digest: z.string(), media: z.string() });
export type Stored = z.infer<typeof zStored>;
export const zFilePage = z.object({ files: z.array(zStored), total: z.number() });
export const zFileRef = z.looseObject({ name: z.string(), digest: z.string() });

export const zExample = z.object({
  group: z.string(),
  id: z.string(),
  name: z.string(),
  sentence: z.string(),
  help: z.string(),
  pictures: z.array(z.enum(["before", "after"])),
  needs: z.array(z.string()).default([]),
  seconds: z.number().nullable().default(null),
  threads: z.number().nullable().default(null),
});
export type Example = z.infer<typeof zExample>;
export const zOneExample = z.object({ example: zExample, workflow: zObject });
/** What became of the nodes of a foreign workflow. */
export const zReport = z.looseObject({
  source: z.string(),
  counts: z.record(z.string(), z.number()),
  remarks: z.array(z.string()),
  nodes: z.record(
    z.string(),
    z.looseObject({ type: z.string(), state: z.string(), remarks: z.array(z.string()) }),
  ),
});
export type ImportReport = z.infer<typeof zReport>;
export const zImported = z.looseObject({
  name: z.string(),
  workflow: zObject,
  report: zReport.nullable().default(null),
});

export const zTokenWords = z.object({
  words: z.array(z.object({ text: z.string(), tokens: z.array(z.string()) })),
  count: z.number(),
  room: z.number(),
  chunks: z.number(),
});
export type TokenWords = z.infer<typeof zTokenWords>;

export const zVerdict = z.object({
  valid: z.boolean(),
  problems: z.array(zProblem),
  wanted: z.array(z.string()),
});

export const zWorker = z.looseObject({ device: z.string(), state: z.string(), why: z.string().default("") });

export const zSystem = z.looseObject({
  versions: z.record(z.string(), z.string()),
  workers: z.array(zWorker),
  queue: zQueue,
  seq: z.number(),
  started: z.number(),
  build: z.string().default(""),
});
export type System = z.infer<typeof zSystem>;

export const zJobEvent = z.object({
  seq: z.number(),
  job: z.string(),
  attempt: z.number(),
  at: z.number(),
  kind: z.string(),
  data: z.looseObject({}),
});
export const zJobEvents = z.object({ events: z.array(zJobEvent), seq: z.number() });
export type JobEvent = z.infer<typeof zJobEvent>;

/** What `step_*` events and frames say; which fields are there depends on `kind`. */
export const zStep = z.looseObject({
  node: z.string(),
  type: z.string().default(""),
  why: z.string().default(""),
  seconds: z.number().default(0),
  done: z.number().default(0),
  total: z.number().default(0),
  rate: z.number().nullable().default(null),
  left: z.number().nullable().default(null),
  note: z.string().default(""),
  figures: z.record(z.string(), z.number()).default({}),
  because: z.string().default(""),
  problems: z.array(zProblem).default([]),
  ui: z.array(zObject).default([]),
});
export type StepData = z.infer<typeof zStep>;

export const zFrame = z.looseObject({ kind: z.string(), job: z.string().nullable().optional() });
export type Frame = z.infer<typeof zFrame>;

export const zSocketMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("hello"), seq: z.number() }),
  z.object({ type: z.literal("events"), events: z.array(zJobEvent) }),
  z.object({ type: z.literal("frame"), frame: zFrame }),
  z.object({ type: z.literal("error"), message: z.string() }),
]);

export const zFault = z.object({
  error: z.object({ code: z.string(), message: z.string(), problems: z.array(zProblem).default([]) }),
});

/** What a node shows people: `ui` is `images`, `text` or `plot`. */
export const zShownFiles = z.looseObject({
  ui: z.string(),
  text: z.string().default(""),
  files: z.array(z.object({ digest: z.string(), name: z.string(), media: z.string() })).default([]),
});
