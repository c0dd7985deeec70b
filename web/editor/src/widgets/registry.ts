/** Which control an input gets. A new one is a folder and a line here; the first line that fits wins. */

import { isWritable } from "../graph/links";
import type { InputSpec } from "../graph/types";
import { BooleanWidget } from "./basic/BooleanWidget";
import { ComboWidget } from "./basic/ComboWidget";
import { NumberWidget } from "./basic/NumberWidget";
import { SeedWidget } from "./basic/SeedWidget";
import { TextAreaWidget, TextWidget } from "./basic/TextWidget";
import type { WidgetKind } from "./types";

interface Rule extends WidgetKind {
  fits: (spec: InputSpec) => boolean;
}

const RULES: readonly Rule[] = [
  { fits: (spec) => spec.widget === "seed", component: SeedWidget, rows: 1 },
  { fits: (spec) => spec.choices !== null, component: ComboWidget, rows: 1 },
  { fits: (spec) => spec.type === "BOOLEAN", component: BooleanWidget, rows: 1 },
  { fits: (spec) => spec.type === "INT" || spec.type === "FLOAT", component: NumberWidget, rows: 1 },
  { fits: (spec) => spec.multiline || spec.type === "JSON", component: TextAreaWidget, rows: 4 },
  { fits: (spec) => isWritable(spec), component: TextWidget, rows: 1 },
];

/** Return the control of an input, or null if it can only be linked. */
export function widgetFor(spec: InputSpec): WidgetKind | null {
  if (!isWritable(spec)) return null;
  return RULES.find((rule) => rule.fits(spec)) ?? null;
}

/** Return how many rows an input takes in a node: for the computed sizes of `graph/size.ts`. */
export function rowsFor(spec: InputSpec): number {
  return widgetFor(spec)?.rows ?? 0;
}
