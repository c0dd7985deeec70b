import { Select } from "../../ui/Field";
import type { WidgetProps } from "../types";
import css from "./basic.module.css";

/** A choice. A value that is not among the choices (a missing file) stays, and is marked. */
export function ComboWidget({ id, label, spec, value, onChange, disabled }: WidgetProps) {
  const choices = spec.choices ?? [];
  const text = typeof value === "string" ? value : "";
  const isMissing = !choices.includes(text);
  return (
    <Select
      id={id}
      className={css.control}
      aria-label={label}
      aria-invalid={isMissing && text !== ""}
      value={text}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    >
      {isMissing && <option value={text}>{text ? `${text} (missing)` : "Choose…"}</option>}
      {choices.map((choice) => (
        <option key={choice}>{choice}</option>
      ))}
    </Select>
  );
}
