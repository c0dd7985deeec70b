/** A number: typed, also as a sum; stepped with arrow keys; or dragged on its grip. Shift is fine, Ctrl coarse. */

import { type KeyboardEvent, type PointerEvent, useEffect, useRef, useState } from "react";
import { TextField } from "../../ui/Field";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";
import { bounded, evaluate, scrub, show, stepOf } from "./arithmetic";
import styles from "./number.module.css";

export function NumberWidget({ id, label, spec, value, onChange, onReset, disabled }: WidgetProps) {
  const [draft, setDraft] = useState<string | null>(null);
  const drag = useRef<{ x: number; start: number } | null>(null);
  const number = typeof value === "number" ? value : null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: an undo from elsewhere ends what was being typed
  useEffect(() => setDraft(null), [value]);
  const commit = () => {
    const typed = draft === null ? null : evaluate(draft);
    setDraft(null);
    if (draft === "") onReset();
    else if (typed !== null && typed !== value) onChange(bounded(typed, spec));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter") commit();
    else if (event.key === "Escape" && draft !== null) {
      event.stopPropagation();
      setDraft(null);
    } else if ((event.key === "ArrowUp" || event.key === "ArrowDown") && !event.altKey) {
      event.preventDefault();
      const from = (draft === null ? number : evaluate(draft)) ?? 0;
      const factor = event.shiftKey && spec.type !== "INT" ? 0.1 : event.ctrlKey || event.metaKey ? 10 : 1;
      onChange(bounded(from + stepOf(spec) * factor * (event.key === "ArrowUp" ? 1 : -1), spec));
    }
  };
  const move = (event: PointerEvent) => {
    if (!drag.current) return;
    const keys = { fine: event.shiftKey, coarse: event.ctrlKey || event.metaKey };
    const next = scrub(drag.current.start, event.clientX - drag.current.x, spec, keys);
    if (next !== value) onChange(next);
  };
  return (
    <span className={styles.number}>
      <TextField
        id={id}
        className={basic.control}
        role="spinbutton"
        inputMode="decimal"
        aria-label={label}
        aria-valuenow={number ?? undefined}
        aria-valuemin={spec.low ?? undefined}
        aria-valuemax={spec.high ?? undefined}
        value={draft ?? (number === null ? "" : show(number))}
        disabled={disabled}
        onChange={(event) => setDraft(event.target.value)}
        onBlur={commit}
        onKeyDown={onKeyDown}
      />
      {!disabled && (
        <span
          className={styles.grip}
          title="Drag to change; Shift is fine, Ctrl coarse"
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            drag.current = { x: event.clientX, start: number ?? 0 };
          }}
          onPointerMove={move}
          onPointerUp={() => {
            drag.current = null;
          }}
        />
      )}
    </span>
  );
}
