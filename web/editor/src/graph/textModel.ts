/** Which model reads a node's prompts: found by following its text encoder's links to the node that loads it. Pure. */

import { bodyOf, isLink } from "./document";
import { specOf } from "./links";
import type { Catalogue, Link, NodeId, Scope, Workflow, WorkflowNode } from "./types";

/** A file of weights: the models folder, and the name listed there. */
export interface WeightsFile {
  readonly kind: string;
  readonly name: string;
}

const TEXT_ENCODER = "CLIP";

/** Return the weights behind the text encoder of a node; null where none is linked or it comes from elsewhere. */
export function textModelOf(
  workflow: Workflow,
  catalogue: Catalogue,
  scope: Scope,
  start: NodeId,
): WeightsFile | null {
  const { nodes } = bodyOf(workflow, scope);
  const seen = new Set<NodeId>();
  for (let id: NodeId | undefined = start; id !== undefined && !seen.has(id); ) {
    seen.add(id);
    const { inputs } = specOf(workflow, catalogue, scope, id);
    const held: WorkflowNode["inputs"] = nodes[id]?.inputs ?? {};
    const given = inputs.filter((input) => input.type === TEXT_ENCODER).map((input) => held[input.name]);
    const link: Link | undefined = given.find(isLink);
    if (!link) {
      const file = id === start ? undefined : inputs.find((input) => input.file && input.file !== "input");
      const name = file && (held[file.name] ?? file.default);
      return file?.file && typeof name === "string" && name ? { kind: file.file, name } : null;
    }
    [id] = link;
  }
  return null;
}
