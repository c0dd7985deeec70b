import type { WidgetProps } from "../types";
import css from "./basic.module.css";

export function BooleanWidget({ id, label, value, onChange, disabled }: WidgetProps) {
  return (
    <input
      id={id}
      type="checkbox"
      role="switch"
      className={css.switch}
      aria-label={label}
      aria-checked={value === true}
      checked={value === true}
      disabled={disabled}
      onChange={(event) => onChange(event.target.checked)}
    />
  );
}
