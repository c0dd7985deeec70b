/** Copy and paste as text, so that it works across tabs, windows and mail. */

import { addNodes, counted, layoutOf } from "./commands";
import { bodyOf, freshId, isLink, isObject, readWorkflow, SUBGRAPH, writeWorkflow } from "./document";
import type { Command, Frame, Json, NodeId, Point, Scope, Workflow } from "./types";

const HEADER = "sfumato/clipboard";

/** Return nodes and frames with their links as text. */
export function copyText(workflow: Workflow, scope: Scope, ids: Iterable<string>): string {
  const body = bodyOf(workflow, scope);
  const chosen = new Set(ids);
  const pick = <T>(from: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(from).filter(([id]) => chosen.has(id)));
  const part: Workflow = {
    ...workflow,
    nodes: pick(body.nodes),
    layout: { nodes: pick(body.layout.nodes), frames: pick(body.layout.frames ?? {}) },
    form: [],
    rest: {},
    subgraphs: {},
  };
  for (const name of subgraphsIn(part.nodes, workflow)) {
    const inner = workflow.subgraphs[name];
    if (!inner) continue;
    part.subgraphs[name] = inner;
    part.layout.subgraphs = { ...part.layout.subgraphs, [name]: bodyOf(workflow, name).layout };
  }
  return JSON.stringify({ [HEADER]: 1, ...writeWorkflow(part) }, null, 1);
}

export interface Pasting {
  readonly command: Command;
  /** The ids that the nodes and frames get. */
  readonly ids: readonly string[];
}

/**
 * Read nodes from text and make the command that adds them with their middle at `at` (null: a little beside where they
 * were). `keepIncoming` also keeps links from nodes that were not copied. Null if the text is none of ours.
 */
export function pasteText(
  text: string,
  workflow: Workflow,
  scope: Scope,
  at: Point | null,
  keepIncoming: boolean,
): Pasting | null {
  const part = readText(text);
  if (!part) return null;
  const { nodes, layout } = bodyOf(workflow, scope);
  const taken: Record<string, unknown> = { ...nodes };
  const names = new Map<NodeId, NodeId>();
  for (const id of Object.keys(part.nodes)) {
    const fresh = freshId(taken, id.replace(/_\d+$/, ""));
    names.set(id, fresh);
    taken[fresh] = true;
  }
  const groups = renamedSubgraphs(part, workflow);
  const shift = shiftTo(part, at);
  const added = Object.entries(part.nodes).map(([id, node]) => {
    const inputs: Record<string, Json> = {};
    for (const [input, value] of Object.entries(node.inputs)) {
      if (!isLink(value)) inputs[input] = value;
      else if (names.has(value[0])) inputs[input] = [names.get(value[0]) ?? value[0], value[1]];
      else if (keepIncoming && value[0] in nodes) inputs[input] = value;
    }
    const group = node.type.startsWith(SUBGRAPH) ? groups.get(node.type.slice(SUBGRAPH.length)) : undefined;
    const place = shifted(part.layout.nodes[id] ?? { x: 0, y: 0 }, shift);
    const bends = Object.entries(place.bends ?? {}).filter(([input]) => isLink(inputs[input]));
    if (place.bends)
      place.bends = Object.fromEntries(bends.map(([input, ps]) => [input, ps.map((p) => shifted(p, shift))]));
    return {
      id: names.get(id) ?? id,
      node: { ...node, inputs, type: group ? SUBGRAPH + group : node.type },
      place,
    };
  });
  const frames: Record<string, Frame> = {};
  for (const [id, frame] of Object.entries(part.layout.frames ?? {})) {
    frames[freshId({ ...layout.frames, ...frames }, id)] = shifted(frame, shift);
  }
  const add = addNodes(scope, added);
  const command: Command = {
    label: `paste ${counted(added.length)}`,
    apply: (draft) => {
      for (const [old, name] of groups) copyGroup(part, draft, old, name, groups);
      add.apply(draft);
      if (Object.keys(frames).length) {
        const into = layoutOf(draft, scope);
        into.frames = { ...into.frames, ...frames };
      }
    },
  };
  return { command, ids: [...added.map((node) => node.id), ...Object.keys(frames)] };
}

function readText(text: string): Workflow | null {
  if (!text.includes(HEADER) && !text.includes("sfumato/1")) return null;
  try {
    const plain: unknown = JSON.parse(text);
    const isOurs = isObject(plain) && (HEADER in plain || plain.format === "sfumato/1");
    return isOurs ? (readWorkflow(plain)?.workflow ?? null) : null;
  } catch {
    return null;
  }
}

function subgraphsIn(nodes: Workflow["nodes"], workflow: Workflow, found = new Set<string>()): Set<string> {
  for (const node of Object.values(nodes)) {
    const name = node.type.startsWith(SUBGRAPH) ? node.type.slice(SUBGRAPH.length) : "";
    const inner = workflow.subgraphs[name];
    if (!inner || found.has(name)) continue;
    found.add(name);
    subgraphsIn(inner.nodes, workflow, found);
  }
  return found;
}

/** A subgraph that is here already under its name and is the same is used; another one of that name gets a new name. */
function renamedSubgraphs(part: Workflow, workflow: Workflow): Map<string, string> {
  const names = new Map<string, string>();
  for (const [name, body] of Object.entries(part.subgraphs)) {
    const here = workflow.subgraphs[name];
    const isSame = here && JSON.stringify(here) === JSON.stringify(body);
    names.set(name, !here || isSame ? name : freshId(workflow.subgraphs, name));
  }
  return names;
}

function copyGroup(
  part: Workflow,
  draft: Workflow,
  old: string,
  name: string,
  groups: Map<string, string>,
): void {
  const body = part.subgraphs[old];
  if (!body || name in draft.subgraphs) return;
  const nodes = structuredClone(body.nodes);
  for (const node of Object.values(nodes)) {
    const group = node.type.startsWith(SUBGRAPH) ? groups.get(node.type.slice(SUBGRAPH.length)) : undefined;
    if (group) node.type = SUBGRAPH + group;
  }
  draft.subgraphs[name] = { ...structuredClone(body), nodes };
  layoutOf(draft, name).nodes = structuredClone(part.layout.subgraphs?.[old]?.nodes ?? {});
}

function shiftTo(part: Workflow, at: Point | null): Point {
  if (!at) return { x: 32, y: 32 };
  const places = [...Object.values(part.layout.nodes), ...Object.values(part.layout.frames ?? {})];
  if (!places.length) return at;
  return { x: at.x - Math.min(...places.map((p) => p.x)), y: at.y - Math.min(...places.map((p) => p.y)) };
}

function shifted<T extends Point>(place: T, by: Point): T {
  return { ...structuredClone(place), x: Math.round(place.x + by.x), y: Math.round(place.y + by.y) };
}
