/** What may be linked to what, and why not; the sentences people read are made here. Mirrors the engine's rules. */

import { isDraft } from "immer";
import { bodyOf, isLink, linksOf, OWN, SUBGRAPH } from "./document";
import type {
  Catalogue,
  InputSpec,
  Json,
  Link,
  NodeId,
  NodeSpec,
  OutputSpec,
  Scope,
  Workflow,
  WorkflowNode,
} from "./types";

const CONVERSIONS = new Set(["INT>FLOAT", "BOOLEAN>STRING", "INT>STRING", "FLOAT>STRING"]);
const CONVERTERS: Readonly<Record<string, string>> = {
  "IMAGE>LATENT": "vae_encode",
  "LATENT>IMAGE": "vae_decode",
  "IMAGE>MASK": "mask_from_channel",
  "MASK>IMAGE": "mask_to_image",
  "STRING>CONDITIONING": "encode_text",
  "FLOAT>INT": "math",
};
const WRITTEN = new Set(["BOOLEAN", "INT", "FLOAT", "STRING", "JSON", "ANY"]);

export interface Target {
  readonly node: NodeId;
  readonly input: string;
}

export interface Converter {
  readonly spec: NodeSpec;
  readonly input: string;
  readonly output: string;
}

export type Verdict =
  | { readonly ok: true; readonly replaces: Link | null }
  | { readonly ok: false; readonly reason: string; readonly converter: Converter | null };

/** Say whether an output of type `given` may be linked to an input of type `wanted` (unions `A|B`). */
export function fits(wanted: string, given: string): boolean {
  if (wanted === given) return true;
  const into = wanted.split("|");
  const out = given.split("|");
  if (into.includes("ANY") || out.includes("ANY")) return true;
  return out.some((o) => into.some((i) => o === i || CONVERSIONS.has(`${o}>${i}`)));
}

/** Say whether a value for this input can be written in the file, so that it needs a widget. */
export function isWritable(input: InputSpec): boolean {
  return !input.list && input.type.split("|").some((type) => WRITTEN.has(type)) && input.type !== "ANY";
}

/** Return a node's type. Subgraphs and types that this server does not have get one made from what is known. */
export function specOf(workflow: Workflow, catalogue: Catalogue, scope: Scope, id: NodeId): NodeSpec {
  const node = bodyOf(workflow, scope).nodes[id];
  const type = node?.type ?? "";
  if (type.startsWith(SUBGRAPH)) return subgraphSpec(workflow, catalogue, type.slice(SUBGRAPH.length));
  const spec = catalogue.get(type);
  return spec && node
    ? withKept(spec, node, usedOutputs(workflow, scope).get(id))
    : unknownSpec(workflow, scope, id, type);
}

/** Judge a link before it is made. */
export function checkLink(
  workflow: Workflow,
  catalogue: Catalogue,
  scope: Scope,
  from: Link,
  to: Target,
): Verdict {
  const no = (reason: string, converter: Converter | null = null): Verdict => ({
    ok: false,
    reason,
    converter,
  });
  if (from[0] === to.node) return no("A node cannot feed itself.");
  const input = specOf(workflow, catalogue, scope, to.node).inputs.find((i) => i.name === to.input);
  const given = outputType(workflow, catalogue, scope, from);
  if (!input) return no(`There is no input ${to.input}.`);
  if (given === null) return no(`There is no output ${from[1]}.`);
  const reaches = dependsOn(workflow, scope, from[0], to.node);
  if (reaches) return no("This would make a circle: the nodes would wait for each other.");
  if (!fits(input.type, given)) {
    const converter = converterFor(catalogue, given, input.type);
    const advice = converter ? ` “${converter.spec.title}” can go between.` : "";
    return no(`${input.name} takes ${said(input.type)}, not ${said(given)}.${advice}`, converter);
  }
  const there = bodyOf(workflow, scope).nodes[to.node]?.inputs[to.input];
  return { ok: true, replaces: isLink(there) ? there : null };
}

/** Return the type of an output, or null if there is no such output. */
export function outputType(
  workflow: Workflow,
  catalogue: Catalogue,
  scope: Scope,
  from: Link,
): string | null {
  if (from[0] === OWN) return portType(workflow, catalogue, scope, from[1]);
  if (!bodyOf(workflow, scope).nodes[from[0]]) return null;
  const spec = specOf(workflow, catalogue, scope, from[0]);
  return spec.outputs.find((o) => o.name === from[1])?.type ?? (spec.unknown ? "ANY" : null);
}

/** Say whether node `id` needs node `source`, over any number of links. */
export function dependsOn(workflow: Workflow, scope: Scope, id: NodeId, source: NodeId): boolean {
  const { nodes } = bodyOf(workflow, scope);
  const seen = new Set<NodeId>();
  const todo = [id];
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name === source) return true;
    if (seen.has(name)) continue;
    seen.add(name);
    const node = nodes[name];
    if (node) for (const [, link] of linksOf(node)) todo.push(link[0]);
  }
  return false;
}

/** Return the input that a bypassed node hands on at an output: the one of that name, else the first that fits. */
export function passedThrough(
  workflow: Workflow,
  catalogue: Catalogue,
  scope: Scope,
  id: NodeId,
  output: OutputSpec,
): Target | null {
  const node = bodyOf(workflow, scope).nodes[id];
  if (!node) return null;
  const given = specOf(workflow, catalogue, scope, id).inputs.filter(
    (i) => node.inputs[i.name] !== undefined,
  );
  const fitting = given.filter((i) => fits(i.type, output.type));
  const found = fitting.find((i) => i.name === output.name) ?? fitting[0];
  return found ? { node: id, input: found.name } : null;
}

/** Return the node to put between two types that do not fit, if this server has one. */
export function converterFor(catalogue: Catalogue, given: string, wanted: string): Converter | null {
  const pairs = given.split("|").flatMap((g) => wanted.split("|").map((w) => `${g}>${w}`));
  for (const pair of pairs) {
    const spec = catalogue.get(CONVERTERS[pair] ?? "");
    const input = spec?.inputs.find((i) => fits(i.type, given) && i.type !== "ANY");
    const output = spec?.outputs.find((o) => fits(wanted, o.type));
    if (spec && input && output) return { spec, input: input.name, output: output.name };
  }
  return null;
}

/** Say a type as people read it. */
export function said(type: string): string {
  return type
    .split("|")
    .map((t) => t.toLowerCase())
    .join(" or ");
}

/** Return the type of a subgraph's instances: its ports, typed by what is behind them. */
export function subgraphSpec(workflow: Workflow, catalogue: Catalogue, name: string): NodeSpec {
  const body = workflow.subgraphs[name];
  const inputs = Object.entries(body?.inputs ?? {}).map(([port, value]) => {
    const behind = behindPort(workflow, catalogue, name, port);
    return {
      ...(behind ?? plainInput(port, "ANY")),
      name: port,
      required: value === null && (behind?.required ?? true),
      default: value,
    };
  });
  const outputs = Object.entries(body?.outputs ?? {}).map(([port, link]) => ({
    name: port,
    type: outputType(workflow, catalogue, name, link) ?? "ANY",
    list: false,
  }));
  const title = body ? name : `${name} (missing)`;
  return { ...blank(SUBGRAPH + name, title), inputs, outputs, category: "subgraph", unknown: !body };
}

/** Return an input spec with nothing special. */
export function plainInput(name: string, type: string): InputSpec {
  const none = {
    low: null,
    high: null,
    step: null,
    choices: null,
    max_length: null,
    file: null,
    widget: null,
  };
  const flags = { required: false, multiline: false, lazy: false, list: false };
  return { name, type, default: null, widget_options: {}, help: "", ...none, ...flags };
}

function portType(workflow: Workflow, catalogue: Catalogue, scope: Scope, port: string): string | null {
  if (!workflow.subgraphs[scope] || !(port in workflow.subgraphs[scope].inputs)) return null;
  return behindPort(workflow, catalogue, scope, port)?.type ?? "ANY";
}

/** Return the input inside a subgraph that its port feeds. */
function behindPort(workflow: Workflow, catalogue: Catalogue, name: string, port: string): InputSpec | null {
  for (const [id, node] of Object.entries(workflow.subgraphs[name]?.nodes ?? {})) {
    for (const [input, link] of linksOf(node)) {
      if (link[0] !== OWN || link[1] !== port || node.type === SUBGRAPH + name) continue;
      return specOf(workflow, catalogue, name, id).inputs.find((i) => i.name === input) ?? null;
    }
  }
  return null;
}

/** A placeholder keeps all values and links: its sockets are the inputs it has and the outputs that are used. */
function unknownSpec(workflow: Workflow, scope: Scope, id: NodeId, type: string): NodeSpec {
  const inputs = Object.entries(bodyOf(workflow, scope).nodes[id]?.inputs ?? {}).map(([name, value]) =>
    plainInput(name, typeOfValue(value)),
  );
  const used = usedOutputs(workflow, scope).get(id) ?? [];
  const outputs = [...used].sort().map((name) => ({ name, type: "ANY", list: false }));
  return { ...blank(type, type || "?"), inputs, outputs, unknown: true };
}

/** The type that a value itself tells, so that a placeholder shows it in a control of its kind. */
function typeOfValue(value: Json): string {
  if (isLink(value)) return "ANY";
  if (typeof value === "number") return "FLOAT";
  if (typeof value === "boolean") return "BOOLEAN";
  return typeof value === "string" ? "STRING" : "JSON";
}

/** Sockets that a newer version of a node no longer has stay while the file still uses them. */
function withKept(spec: NodeSpec, node: WorkflowNode, used: Iterable<string> = []): NodeSpec {
  const inputs = Object.keys(node.inputs).filter((name) => !spec.inputs.some((i) => i.name === name));
  const outputs = [...used].filter((name) => !spec.outputs.some((o) => o.name === name));
  if (!inputs.length && !outputs.length) return spec;
  const help = "This node has no such input any more; the value is kept and not used.";
  return {
    ...spec,
    inputs: [
      ...spec.inputs,
      ...inputs.map((name) => ({ ...plainInput(name, typeOfValue(node.inputs[name] ?? null)), help })),
    ],
    outputs: [...spec.outputs, ...outputs.map((name) => ({ name, type: "ANY", list: false }))],
  };
}

type Used = ReadonlyMap<NodeId, ReadonlySet<string>>;
const usedCache = new WeakMap<Workflow["nodes"], { outputs: unknown; used: Used }>();

/** Return the outputs that links lead from, by node. */
function usedOutputs(workflow: Workflow, scope: Scope): Used {
  const { nodes } = bodyOf(workflow, scope);
  const outputs = workflow.subgraphs[scope]?.outputs;
  const known = isDraft(nodes) ? undefined : usedCache.get(nodes);
  if (known && known.outputs === outputs) return known.used;
  const used = new Map<NodeId, Set<string>>();
  const note = ([node, output]: Link) => used.set(node, (used.get(node) ?? new Set()).add(output));
  for (const node of Object.values(nodes)) for (const [, link] of linksOf(node)) note(link);
  for (const link of Object.values(outputs ?? {})) note(link);
  if (!isDraft(nodes)) usedCache.set(nodes, { outputs, used }); // only drafts ever change in place
  return used;
}

function blank(id: string, title: string): NodeSpec {
  return {
    id,
    title,
    category: "",
    version: 1,
    doc: "",
    inputs: [],
    outputs: [],
    effect: false,
    output: false,
    pack: "",
  };
}
