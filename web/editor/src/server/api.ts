/** The server's routes as functions. Nothing else in the editor knows a URL. */

import type { z } from "zod";
import type { Json, JsonObject, Problem } from "../graph/types";
import {
  zCatalogue,
  zDocument,
  zDocumentSummary,
  zExample,
  zFault,
  zFilePage,
  zFileRef,
  zImported,
  zJob,
  zJobEvents,
  zJobPage,
  zJobSummary,
  zOneExample,
  zQueue,
  zSystem,
  zTokenWords,
  zVerdict,
} from "./messages";

/** What the server refused, in a sentence for people. `status` 0: it could not be reached. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
  }
}

interface Asked {
  body?: Json | JsonObject | Blob;
  revision?: number;
  query?: Record<string, string | number | undefined>;
}

async function ask(method: string, path: string, { body, revision, query }: Asked = {}): Promise<unknown> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = body instanceof Blob ? mediaOf(body) : "application/json";
  if (revision !== undefined) headers["If-Match"] = `"${revision}"`;
  const sent = body === undefined ? null : body instanceof Blob ? body : JSON.stringify(body);
  let response: Response;
  try {
    response = await fetch(path + search(query), { method, headers, body: sent });
  } catch {
    throw new ApiError("Sfumato cannot be reached. Is it still running?", 0, "unreachable");
  }
  if (response.status === 204) return null;
  const plain: unknown = await response.json().catch(() => null);
  if (response.ok) return plain;
  const fault = zFault.safeParse(plain).data?.error;
  const message = fault?.message ?? `The server answered ${response.status}.`;
  throw new ApiError(message, response.status, fault?.code ?? "error", fault?.problems);
}

async function get<S extends z.ZodType>(schema: S, path: string, asked?: Asked): Promise<z.output<S>> {
  return schema.parse(await ask("GET", path, asked));
}

async function send<S extends z.ZodType>(
  schema: S,
  method: string,
  path: string,
  asked?: Asked,
): Promise<z.output<S>> {
  return schema.parse(await ask(method, path, asked));
}

const id = encodeURIComponent;

export interface Submission {
  workflow: JsonObject;
  inputs?: JsonObject;
  outputs?: string[];
  priority?: number;
  idempotency_key?: string;
  /** The document it was run from, so that its page finds the run again. */
  client?: string;
}

export const api = {
  catalogue: () => get(zCatalogue, "/api/nodes"),
  refreshCatalogue: () => send(zCatalogue, "POST", "/api/nodes/refresh", { body: {} }),
  validate: (workflow: JsonObject) => send(zVerdict, "POST", "/api/validate", { body: { workflow } }),
  tokens: (prompt: { kind: string; name: string; text: string }) =>
    send(zTokenWords, "POST", "/api/tokens", { body: prompt }),
  models: () => ask("GET", "/api/models"),
  system: () => get(zSystem, "/api/system"),

  submit: (job: Submission) => send(zJobSummary, "POST", "/api/jobs", { body: { ...job } }),
  jobs: (query: { list: "queue" | "history"; client?: string; limit?: number; cursor?: string }) =>
    get(zJobPage, "/api/jobs", { query }),
  job: (job: string) => get(zJob, `/api/jobs/${id(job)}`),
  jobEvents: (job: string, since = 0) => get(zJobEvents, `/api/jobs/${id(job)}/events`, { query: { since } }),
  forgetJob: (job: string) => ask("DELETE", `/api/jobs/${id(job)}`),
  cancelJob: (job: string) => send(zJobSummary, "POST", `/api/jobs/${id(job)}/cancel`, { body: {} }),
  retryJob: (job: string) => send(zJobSummary, "POST", `/api/jobs/${id(job)}/retry`, { body: {} }),
  pauseJob: (job: string) => send(zJobSummary, "POST", `/api/jobs/${id(job)}/pause`, { body: {} }),
  resumeJob: (job: string) => send(zJobSummary, "POST", `/api/jobs/${id(job)}/resume`, { body: {} }),
  moveJob: (job: string, to: { before: string } | { after: string }) =>
    send(zJobSummary, "POST", `/api/jobs/${id(job)}/move`, { body: to }),

  queue: () => get(zQueue, "/api/queue"),
  pauseQueue: () => send(zQueue, "POST", "/api/queue/pause", { body: {} }),
  resumeQueue: () => send(zQueue, "POST", "/api/queue/resume", { body: {} }),
  cancelAll: () => ask("POST", "/api/queue/cancel", { body: {} }),

  documents: () => get(zDocumentSummary.array(), "/api/workflows"),
  createDocument: (name: string, workflow: JsonObject) =>
    send(zDocument, "POST", "/api/workflows", { body: { name, workflow } }),
  document: (document: string, revision?: number) =>
    get(zDocument, `/api/workflows/${id(document)}`, { query: { revision } }),
  saveDocument: (document: string, revision: number, change: { name?: string; workflow?: JsonObject }) =>
    send(zDocument, "PUT", `/api/workflows/${id(document)}`, { body: { ...change }, revision }),
  deleteDocument: (document: string, revision: number) =>
    ask("DELETE", `/api/workflows/${id(document)}`, { revision }),
  revisions: (document: string) => get(zDocumentSummary.array(), `/api/workflows/${id(document)}/revisions`),
  restoreRevision: (document: string, current: number, revision: number) =>
    send(zDocument, "POST", `/api/workflows/${id(document)}/restore`, {
      body: { revision },
      revision: current,
    }),

  files: (query: { kind: "input" | "output"; name?: string; limit?: number; offset?: number }) =>
    get(zFilePage, "/api/files", { query }),
  examples: () => get(zExample.array(), "/api/examples"),
  example: (group: string, name: string) => get(zOneExample, `/api/examples/${id(group)}/${id(name)}`),
  /** Read the workflow out of a picture or JSON file; nothing is stored. */
  importFile: (file: Blob) => send(zImported, "POST", "/api/import", { body: asBytes(file) }),
  upload: (name: string, file: Blob) => send(zFileRef, "POST", "/api/files", { body: file, query: { name } }),
};

/** Return where a stored file's bytes are, for `src` of a picture. */
export function fileUrl(digest: string): string {
  return `/api/files/${id(digest)}`;
}

/** Return where the picture that lies beside weights is. */
export function modelPictureUrl(kind: string, name: string): string {
  return `/api/models/picture?${new URLSearchParams({ kind, name })}`;
}

/** Return where a picture of a ready-made workflow is. */
export function exampleUrl(group: string, name: string, which: "before" | "after"): string {
  return `/api/examples/${id(group)}/${id(name)}/${which}`;
}

/** Browsers call JSON files `application/json`, which the server takes for a request in JSON. */
function asBytes(file: Blob): Blob {
  return file.slice(0, file.size, "application/octet-stream");
}

function search(query: Asked["query"]): string {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
  return given.length ? `?${new URLSearchParams(given.map(([k, v]) => [k, String(v)]))}` : "";
}

function mediaOf(file: Blob): string {
  const known = ["image/png", "image/jpeg", "image/webp", "video/mp4"];
  return known.includes(file.type) ? file.type : "application/octet-stream";
}
