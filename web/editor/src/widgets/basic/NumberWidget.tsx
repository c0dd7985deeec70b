import { useEffect, useState } from "react";
import { TextField } from "../../ui/Field";
import type { WidgetProps } from "../types";
import css from "./basic.module.css";
import { clamped, evaluate, stepped } from "./numbers";

/** A number: typed (also `512*1.5`), or changed with the arrow keys; Shift is ten steps. */
export function NumberWidget({ id, label, spec, value, onChange, onReset, disabled }: WidgetProps) {
  const [draft, setDraft] = useState<string | null>(null);
  const shown = typeof value === "number" ? String(value) : "";
  // biome-ignore lint/correctness/useExhaustiveDependencies: an undo from elsewhere ends what was being typed
  useEffect(() => setDraft(null), [value]);
  const commit = () => {
    const number = draft === null ? null : evaluate(draft);
    setDraft(null);
    if (draft === "") onReset();
    else if (number !== null && number !== value) onChange(clamped(spec, number));
  };
  return (
    <TextField
      id={id}
      className={css.control}
      role="spinbutton"
      inputMode="decimal"
      aria-label={label}
      aria-valuenow={typeof value === "number" ? value : undefined}
      aria-valuemin={spec.low ?? undefined}
      aria-valuemax={spec.high ?? undefined}
      value={draft ?? shown}
      disabled={disabled}
      onChange={(event) => setDraft(event.target.value)}
      onBlur={commit}
      onKeyDown={(event) => {
        if (event.key === "Enter") commit();
        if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
        event.preventDefault();
        const by = (event.key === "ArrowUp" ? 1 : -1) * (event.shiftKey ? 10 : 1);
        onChange(stepped(spec, evaluate(draft ?? shown) ?? 0, by));
      }}
    />
  );
}
