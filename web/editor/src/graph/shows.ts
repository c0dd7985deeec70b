/** Which node shows what a workflow makes. Pure. */

import { isLink } from "./document";
import type { Catalogue, NodeId, Workflow } from "./types";

/** Return the first node, in the file's order, that shows pictures it is given. */
export function firstShowing({ nodes }: Workflow, catalogue: Catalogue): NodeId | null {
  const found = Object.entries(nodes).find(([, node]) => {
    const spec = catalogue.get(node.type);
    return (
      spec?.output &&
      spec.inputs.some((input) => input.type.split("|").includes("IMAGE") && isLink(node.inputs[input.name]))
    );
  });
  return found?.[0] ?? null;
}
