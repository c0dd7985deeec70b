/** Reading, writing and looking into workflows. Reading is pure and never refuses what is an object. */

import type {
  BodyLayout,
  Json,
  JsonObject,
  Layout,
  Link,
  NodeId,
  NodeLayout,
  Scope,
  Workflow,
  WorkflowNode,
} from "./types";

export const FORMAT = "sfumato/1";
export const OWN = "@";
export const SUBGRAPH = "subgraph:";

export interface Body {
  nodes: Record<NodeId, WorkflowNode>;
  layout: BodyLayout;
}

export interface Reading {
  workflow: Workflow;
  /** What was left out or repaired, one sentence each. */
  warnings: string[];
}

/** Return a workflow without nodes. */
export function emptyWorkflow(name = "Untitled"): Workflow {
  return { format: FORMAT, name, nodes: {}, subgraphs: {}, layout: { nodes: {} }, form: [], rest: {} };
}

/** Return the nodes and layout of a scope; one that is gone (an undo took it) has none. */
export function bodyOf(workflow: Workflow, scope: Scope): Body {
  if (scope === "") return { nodes: workflow.nodes, layout: workflow.layout };
  const subgraph = workflow.subgraphs[scope];
  if (!subgraph) return { nodes: {}, layout: { nodes: {} } };
  return { nodes: subgraph.nodes, layout: workflow.layout.subgraphs?.[scope] ?? { nodes: {} } };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Tell a link from a value: exactly two texts, as the engine does. */
export function isLink(value: Json | undefined): value is Link {
  return Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === "string");
}

/** Write a value so that it cannot be taken for a link. */
export function escapeValue(value: Json): Json {
  const escaped = isObject(value) && Object.keys(value).length === 1 && "$value" in value;
  return isLink(value) || escaped ? { $value: value } : value;
}

/** Return the value that an input holds. */
export function unescapeValue(value: Json): Json {
  if (!isObject(value) || Object.keys(value).length !== 1) return value;
  return value.$value ?? value;
}

/** Return the links into a node, by input. */
export function linksOf(node: WorkflowNode): [input: string, link: Link][] {
  const found: [string, Link][] = [];
  for (const [input, value] of Object.entries(node.inputs)) if (isLink(value)) found.push([input, value]);
  return found;
}

/** Return an id that `taken` does not hold: a readable word, numbered from the second on. */
export function freshId(taken: Readonly<Record<string, unknown>>, wish: string): NodeId {
  const word =
    wish
      .toLowerCase()
      .replace(/[^a-z0-9_-]+/g, "_")
      .replace(/^_+|_+$/g, "")
      .slice(0, 60) || "node";
  if (!(word in taken)) return word;
  let number = 2;
  while (`${word}_${number}` in taken) number += 1;
  return `${word}_${number}`;
}

/** Read a file's JSON: the whole file or only its nodes. Null if it is no workflow of ours. */
export function readWorkflow(plain: unknown): Reading | null {
  if (!isObject(plain)) return null;
  const file: JsonObject = "nodes" in plain || "format" in plain ? plain : { nodes: plain };
  if (file.format !== undefined && file.format !== FORMAT) return null;
  const warnings: string[] = [];
  const nodes = readNodes(file.nodes, warnings);
  if (!nodes) return null;
  const { format: _, name, nodes: _nodes, subgraphs, layout, form, ...rest } = file;
  const workflow: Workflow = {
    format: FORMAT,
    name: typeof name === "string" && name ? name : "Untitled",
    nodes,
    subgraphs: readSubgraphs(subgraphs, warnings),
    layout: { nodes: {} },
    form: readForm(form),
    rest: { ...rest },
  };
  workflow.layout = readLayout(layout, workflow);
  return { workflow, warnings };
}

/** Write a workflow as its file; the order of keys is fixed so that files diff well. */
export function writeWorkflow(workflow: Workflow): JsonObject {
  const { format, name, nodes, subgraphs, layout, form, rest } = workflow;
  const file: Record<string, unknown> = { format, name, ...rest, nodes };
  if (Object.keys(subgraphs).length) file.subgraphs = subgraphs;
  file.layout = layout;
  if (form.length) file.form = form;
  return JSON.parse(JSON.stringify(file));
}

function readNodes(plain: Json | undefined, warnings: string[]): Record<NodeId, WorkflowNode> | null {
  if (!isObject(plain)) return null;
  const nodes: Record<NodeId, WorkflowNode> = {};
  for (const [id, node] of Object.entries(plain)) {
    if (isObject(node) && typeof node.type === "string") {
      const inputs = isObject(node.inputs) ? { ...node.inputs } : {};
      nodes[id] = { type: node.type, inputs };
      if (node.mode === "mute" || node.mode === "bypass") nodes[id].mode = node.mode;
    } else warnings.push(`Node ${id} has no type and was left out.`);
  }
  return nodes;
}

function readSubgraphs(plain: Json | undefined, warnings: string[]): Workflow["subgraphs"] {
  const found: Workflow["subgraphs"] = {};
  for (const [name, body] of Object.entries(isObject(plain) ? plain : {})) {
    if (!isObject(body)) continue;
    const outputs: Record<string, Link> = {};
    for (const [port, link] of Object.entries(isObject(body.outputs) ? body.outputs : {}))
      if (isLink(link)) outputs[port] = link;
    const inputs = isObject(body.inputs) ? { ...body.inputs } : {};
    found[name] = { nodes: readNodes(body.nodes, warnings) ?? {}, inputs, outputs };
  }
  return found;
}

function readForm(plain: Json | undefined): Workflow["form"] {
  if (!Array.isArray(plain)) return [];
  const fields: Workflow["form"] = [];
  for (const field of plain) {
    if (!isObject(field) || typeof field.node !== "string" || typeof field.input !== "string") continue;
    const label = typeof field.label === "string" ? { label: field.label } : {};
    fields.push({ node: field.node, input: field.input, ...label });
  }
  return fields;
}

function readLayout(plain: Json | undefined, workflow: Workflow): Layout {
  const file = isObject(plain) ? plain : {};
  const layout: Layout = readBodyLayout(file, workflow.nodes);
  const inner = isObject(file.subgraphs) ? file.subgraphs : {};
  for (const [name, subgraph] of Object.entries(workflow.subgraphs)) {
    layout.subgraphs ??= {};
    layout.subgraphs[name] = readBodyLayout(inner[name], subgraph.nodes);
  }
  return layout;
}

function readBodyLayout(plain: Json | undefined, nodes: Record<NodeId, WorkflowNode>): BodyLayout {
  const file = isObject(plain) ? plain : {};
  const placed = isObject(file.nodes) ? file.nodes : {};
  const layout: BodyLayout = { nodes: {} };
  for (const id of Object.keys(nodes)) {
    const place = readPlace(placed[id]);
    if (place) layout.nodes[id] = place;
  }
  if (isObject(file.frames)) {
    const frames: NonNullable<BodyLayout["frames"]> = {};
    for (const [id, frame] of Object.entries(file.frames)) {
      if (!isObject(frame)) continue;
      const { x, y, width, height, title, color } = frame;
      if (typeof x !== "number" || typeof y !== "number") continue;
      frames[id] = {
        x,
        y,
        width: typeof width === "number" ? width : 320,
        height: typeof height === "number" ? height : 240,
        title: typeof title === "string" ? title : "",
        ...(typeof color === "string" ? { color } : {}),
      };
    }
    layout.frames = frames;
  }
  return layout;
}

function readPlace(plain: Json | undefined): NodeLayout | null {
  if (!isObject(plain) || typeof plain.x !== "number" || typeof plain.y !== "number") return null;
  const place: NodeLayout = { x: plain.x, y: plain.y };
  if (typeof plain.width === "number") place.width = plain.width;
  if (typeof plain.height === "number") place.height = plain.height;
  if (typeof plain.title === "string") place.title = plain.title;
  if (typeof plain.color === "string") place.color = plain.color;
  if (plain.collapsed === true) place.collapsed = true;
  if (isObject(plain.bends)) place.bends = readBends(plain.bends);
  return place;
}

function readBends(plain: JsonObject): NonNullable<NodeLayout["bends"]> {
  const bends: NonNullable<NodeLayout["bends"]> = {};
  for (const [input, points] of Object.entries(plain)) {
    if (!Array.isArray(points)) continue;
    bends[input] = points.flatMap((p) =>
      isObject(p) && typeof p.x === "number" && typeof p.y === "number" ? [{ x: p.x, y: p.y }] : [],
    );
  }
  return bends;
}
