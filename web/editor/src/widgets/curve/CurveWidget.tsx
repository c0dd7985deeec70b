/** A curve as the value `[[x, y], ...]`. */

import type { WidgetProps } from "../types";
import { CurveEditor } from "./CurveEditor";
import { readKnots } from "./curve";

export function CurveWidget({ label, value, onChange, disabled }: WidgetProps) {
  return (
    <CurveEditor
      knots={readKnots(value)}
      label={label}
      disabled={disabled}
      onChange={(knots) => onChange(knots)}
    />
  );
}
