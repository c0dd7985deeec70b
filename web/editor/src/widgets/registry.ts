/** Which control an input gets. A new one is a folder and a line here; the first line that fits wins. */

import { isWritable } from "../graph/links";
import type { InputSpec } from "../graph/types";
import { BooleanWidget } from "./basic/BooleanWidget";
import { ColorWidget } from "./color/ColorWidget";
import { ComboWidget } from "./combo/ComboWidget";
import { FileWidget } from "./combo/FileWidget";
import { CurveWidget } from "./curve/CurveWidget";
import { RegionWidget, StrokeWidget } from "./dialogWidget";
import { ImageWidget } from "./image/ImageWidget";
import { MaskThreshold } from "./maskThreshold/MaskThreshold";
import { NumberWidget } from "./number/NumberWidget";
import { PromptPair } from "./promptPair/PromptPair";
import { WordWeights } from "./promptWeights/WordWeights";
import { SeedWidget } from "./seed/SeedWidget";
import { JsonWidget } from "./text/JsonWidget";
import { PromptWidget, TextWidget } from "./text/PromptWidget";
import type { WidgetKind } from "./types";
import { WordWindows } from "./wordWindows/WordWindows";

/** By the name that a node declares, `Widget("seed")`. One that is not here gets the default of its type. */
const NAMED: Readonly<Record<string, WidgetKind>> = {
  seed: { component: SeedWidget, rows: 1 },
  color: { component: ColorWidget, rows: 1 },
  strokes: { component: StrokeWidget, rows: 1 },
  stroke_pad: { component: StrokeWidget, rows: 1 },
  regions: { component: RegionWidget, rows: 1 },
  region_editor: { component: RegionWidget, rows: 1 },
  prompt_pair: { component: PromptPair, rows: 5 },
  prompt_weights: { component: WordWeights, rows: 5 },
  word_weights: { component: WordWeights, rows: 5 },
  word_windows: { component: WordWindows, rows: 5 },
  mask_threshold: { component: MaskThreshold, rows: 3 },
  curve: { component: CurveWidget, rows: 6 },
};

interface Rule extends WidgetKind {
  fits: (spec: InputSpec) => boolean;
}

const RULES: readonly Rule[] = [
  { fits: (spec) => spec.file === "input", component: ImageWidget, rows: 5 },
  { fits: (spec) => spec.file !== null, component: FileWidget, rows: 1 },
  { fits: (spec) => spec.choices !== null, component: ComboWidget, rows: 1 },
  { fits: (spec) => spec.type === "BOOLEAN", component: BooleanWidget, rows: 1 },
  { fits: (spec) => spec.type === "INT" || spec.type === "FLOAT", component: NumberWidget, rows: 1 },
  { fits: (spec) => spec.type === "JSON", component: JsonWidget, rows: 4 },
  { fits: (spec) => spec.multiline, component: PromptWidget, rows: 4 },
  { fits: (spec) => isWritable(spec), component: TextWidget, rows: 1 },
];

/** Return the control of an input, or null if it can only be linked. */
export function widgetFor(spec: InputSpec): WidgetKind | null {
  if (!isWritable(spec)) return null;
  const isFile = spec.file === "input"; // pictures and masks have one widget, whatever it is called
  const named =
    spec.widget !== null && !isFile && Object.hasOwn(NAMED, spec.widget) ? NAMED[spec.widget] : undefined;
  return named ?? RULES.find((rule) => rule.fits(spec)) ?? null;
}

/** Return how many rows an input takes in a node: for the computed sizes of `graph/size.ts`. */
export function rowsFor(spec: InputSpec): number {
  return widgetFor(spec)?.rows ?? 0;
}
