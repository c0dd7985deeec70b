/** Values of inputs as they are in force, also those of nodes further up. Pure. */

import { bodyOf, isLink, unescapeValue } from "./document";
import { specOf } from "./links";
import type { Catalogue, Json, NodeId, Scope, Workflow } from "./types";

/** Outputs that are an input of their own node, handed on: type of the node, output, input. */
const HANDED_ON: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  align_prompts: { source: "source", target: "target" },
  text: { string: "value" },
};

/**
 * Return what an input holds, its default where nothing is said; null for links, unless they hand on what is written
 * elsewhere, and for unknown inputs. With a dot, `tokens.target`: input `target` of the node that `tokens` is linked to.
 */
export function valueAt(
  workflow: Workflow,
  catalogue: Catalogue,
  scope: Scope,
  node: NodeId,
  path: string,
): Json {
  const [name = "", ...further] = path.split(".");
  const said = bodyOf(workflow, scope).nodes[node]?.inputs[name];
  if (further.length)
    return isLink(said) ? valueAt(workflow, catalogue, scope, said[0], further.join(".")) : null;
  if (isLink(said)) {
    const [from, output] = said;
    const linked = bodyOf(workflow, scope).nodes[from];
    const input = HANDED_ON[linked?.type ?? ""]?.[output];
    return input && !isLink(linked?.inputs[input]) ? valueAt(workflow, catalogue, scope, from, input) : null;
  }
  if (said !== undefined) return unescapeValue(said);
  return (
    specOf(workflow, catalogue, scope, node).inputs.find((input) => input.name === name)?.default ?? null
  );
}
