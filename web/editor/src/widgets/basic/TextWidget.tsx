import type { Json } from "../../graph/types";
import { TextArea, TextField } from "../../ui/Field";
import type { WidgetProps } from "../types";
import css from "./basic.module.css";

function shown(value: Json): string {
  if (value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function TextWidget({ id, label, spec, value, onChange, disabled }: WidgetProps) {
  return (
    <TextField
      id={id}
      className={css.control}
      aria-label={label}
      maxLength={spec.max_length ?? undefined}
      value={shown(value)}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

export function TextAreaWidget({ id, label, spec, value, onChange, disabled }: WidgetProps) {
  return (
    <TextArea
      id={id}
      className={css.area}
      aria-label={label}
      placeholder={label}
      maxLength={spec.max_length ?? undefined}
      value={shown(value)}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
