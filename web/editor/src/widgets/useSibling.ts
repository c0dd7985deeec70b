/** Another input of the same node, as widgets that belong together read it. */

import { bodyOf, isLink, unescapeValue } from "../graph/document";
import { specOf } from "../graph/links";
import type { Json } from "../graph/types";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument } from "../state/tabs";
import type { WidgetProps } from "./types";

/** Return the value of input `name`, its default where none is set; null for links and unknown inputs. */
export function useSibling(at: WidgetProps["at"], name: string): Json {
  const catalogue = useCatalogue((state) => state.nodes);
  return useDocument(({ workflow }) => {
    if (!at) return null;
    const said = bodyOf(workflow, at.scope).nodes[at.node]?.inputs[name];
    if (isLink(said)) return null;
    const spec = specOf(workflow, catalogue, at.scope, at.node).inputs.find((input) => input.name === name);
    return said === undefined ? (spec?.default ?? null) : unescapeValue(said);
  });
}

/** Return a text option of a widget, as its node declares it. */
export function option(props: Pick<WidgetProps, "spec">, name: string, fallback: string): string {
  const value = props.spec.widget_options[name];
  return typeof value === "string" ? value : fallback;
}
