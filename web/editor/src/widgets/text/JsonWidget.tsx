/** Any value as JSON; what is no JSON yet stays in the field, with the reason, and is not set. */

import { useEffect, useState } from "react";
import type { Json } from "../../graph/types";
import { TextArea } from "../../ui/Field";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";

export function JsonWidget({ id, label, value, onChange, disabled }: WidgetProps) {
  const [draft, setDraft] = useState<string | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: an undo from elsewhere ends what was being typed
  useEffect(() => setDraft(null), [JSON.stringify(value)]);
  const wrong = draft === null ? "" : faultOf(draft);
  return (
    <TextArea
      id={id}
      className={basic.area}
      aria-label={label}
      aria-invalid={wrong !== ""}
      title={wrong}
      spellCheck={false}
      value={draft ?? (value === null ? "" : JSON.stringify(value, null, 1))}
      disabled={disabled}
      onChange={(event) => setDraft(event.target.value)}
      onBlur={() => {
        if (draft === null || wrong) return;
        const parsed: Json = JSON.parse(draft);
        setDraft(null);
        onChange(parsed);
      }}
    />
  );
}

function faultOf(text: string): string {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : "This is no JSON.";
  }
}
