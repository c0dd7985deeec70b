/** Another input of the same node, or of one that it is linked to, as widgets that belong together read it. */

import type { Json } from "../graph/types";
import { valueAt } from "../graph/values";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument } from "../state/tabs";
import type { WidgetProps } from "./types";

/**
 * Return the value of input `name`, its default where none is set; null for links and unknown inputs. With a dot,
 * `tokens.target`: input `target` of the node that `tokens` is linked to.
 */
export function useSibling(at: WidgetProps["at"], name: string): Json {
  const catalogue = useCatalogue((state) => state.nodes);
  return useDocument(({ workflow }) => (at ? valueAt(workflow, catalogue, at.scope, at.node, name) : null));
}

/** Return a text option of a widget, as its node declares it. */
export function option(props: Pick<WidgetProps, "spec">, name: string, fallback: string): string {
  const value = props.spec.widget_options[name];
  return typeof value === "string" ? value : fallback;
}
