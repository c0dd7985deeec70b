/** Which picture a mask, box or stroke is drawn on. Pure. */

import { bodyOf, isLink, linksOf } from "../../graph/document";
import { specOf } from "../../graph/links";
import type { Catalogue, NodeId, Scope, Workflow } from "../../graph/types";

/** Return the name of the nearest picture upstream of a node; failing that, of another picture in the graph. */
export function pictureUnder(
  workflow: Workflow,
  catalogue: Catalogue,
  scope: Scope,
  node: NodeId,
): string | null {
  const { nodes } = bodyOf(workflow, scope);
  const seen = new Set<NodeId>([node]);
  const upstream = linksOf(nodes[node] ?? { type: "", inputs: {} }).map(([, link]) => link[0]);
  for (const id of upstream) {
    if (seen.has(id)) continue;
    seen.add(id);
    const name = fileOf(workflow, catalogue, scope, id);
    if (name) return name;
    upstream.push(...linksOf(nodes[id] ?? { type: "", inputs: {} }).map(([, link]) => link[0]));
  }
  const others = Object.keys(nodes).filter(
    (id) => id !== node && givesPicture(workflow, catalogue, scope, id),
  );
  return others.map((id) => fileOf(workflow, catalogue, scope, id)).find((name) => name !== null) ?? null;
}

/** Say whether a node gives masks and no pictures: its file can be painted. */
export function givesMask(workflow: Workflow, catalogue: Catalogue, scope: Scope, node: NodeId): boolean {
  const { outputs } = specOf(workflow, catalogue, scope, node);
  return outputs.length > 0 && outputs.every((output) => output.type === "MASK");
}

function givesPicture(workflow: Workflow, catalogue: Catalogue, scope: Scope, node: NodeId): boolean {
  return specOf(workflow, catalogue, scope, node).outputs.some((output) => output.type === "IMAGE");
}

function fileOf(workflow: Workflow, catalogue: Catalogue, scope: Scope, node: NodeId): string | null {
  const held = bodyOf(workflow, scope).nodes[node];
  for (const input of specOf(workflow, catalogue, scope, node).inputs) {
    const value = held?.inputs[input.name];
    if (input.file === "input" && typeof value === "string" && !isLink(value) && value) return value;
  }
  return null;
}
