/** A colour: picked, or written as `#rrggbb`. */

import { TextField } from "../../ui/Field";
import basic from "../basic/basic.module.css";
import { textOf } from "../text/PromptWidget";
import type { WidgetProps } from "../types";
import styles from "./color.module.css";

const SIX = /^#[0-9a-f]{6}$/i;

export function ColorWidget({ id, label, value, onChange, disabled }: WidgetProps) {
  const text = textOf(value);
  return (
    <span className={basic.pair}>
      <input
        type="color"
        className={styles.swatch}
        aria-label={`${label}, picker`}
        value={SIX.test(text) ? text : "#000000"}
        disabled={disabled}
        onChange={(event) => onChange(event.target.value)}
      />
      <TextField
        id={id}
        className={basic.control}
        aria-label={label}
        value={text}
        disabled={disabled}
        onChange={(event) => onChange(event.target.value)}
      />
    </span>
  );
}
