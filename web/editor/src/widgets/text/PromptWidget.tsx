/** A text; Ctrl+Up and Ctrl+Down weigh the selection or the word at the cursor. */

import { type KeyboardEvent, useEffect, useRef } from "react";
import type { Json } from "../../graph/types";
import { TextArea, TextField } from "../../ui/Field";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";
import { weigh } from "./weighting";

const STEP = 0.1;

/** Return a value as the text that is edited. */
export function textOf(value: Json): string {
  if (value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function TextWidget({ id, label, spec, value, onChange, disabled }: WidgetProps) {
  return (
    <TextField
      id={id}
      className={basic.control}
      aria-label={label}
      maxLength={spec.max_length ?? undefined}
      value={textOf(value)}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

export function PromptWidget({ id, label, spec, value, onChange, disabled, place }: WidgetProps) {
  const area = useRef<HTMLTextAreaElement>(null);
  const selection = useRef<readonly [number, number] | null>(null);
  const text = textOf(value);
  // biome-ignore lint/correctness/useExhaustiveDependencies: after a weight the words stay selected
  useEffect(() => {
    if (selection.current) area.current?.setSelectionRange(...selection.current);
    selection.current = null;
  }, [text]);
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    const isStep = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (!isStep || !(event.ctrlKey || event.metaKey) || disabled) return;
    event.preventDefault();
    event.stopPropagation();
    const { selectionStart: from, selectionEnd: to } = event.currentTarget;
    const weighed = weigh({ text, from, to }, event.key === "ArrowUp" ? STEP : -STEP);
    if (weighed.text === text) return;
    selection.current = [weighed.from, weighed.to];
    onChange(weighed.text);
  };
  return (
    <TextArea
      ref={area}
      id={id}
      className={basic.area}
      aria-label={label}
      placeholder={place === "node" ? label : undefined}
      maxLength={spec.max_length ?? undefined}
      value={text}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
      onKeyDown={onKeyDown}
    />
  );
}
