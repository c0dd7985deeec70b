/** A choice. Few are a plain list; many are filtered as one types. A value that is gone stays, and is marked. */

import { Command } from "cmdk";
import { ChevronsUpDown } from "lucide-react";
import { useState } from "react";
import { Select } from "../../ui/Field";
import { Popover } from "../../ui/Popover";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";
import styles from "./combo.module.css";

const FEW = 10;

interface Props extends WidgetProps {
  readonly choices: readonly string[];
  /** Said when there is nothing to choose. */
  readonly none?: string;
  /** A line about a choice, where one is known; then the list is always one to filter. */
  readonly about?: ReadonlyMap<string, string>;
  /** The address of a picture of a choice, where there is one. */
  readonly pictures?: ReadonlyMap<string, string>;
}

export function ComboWidget(props: WidgetProps) {
  return <Combo {...props} choices={props.spec.choices ?? []} />;
}

export function Combo(props: Props) {
  const { id, label, choices, value, onChange, disabled, about } = props;
  const text = typeof value === "string" ? value : "";
  const isMissing = !choices.includes(text);
  if (choices.length > FEW || about?.size) return <Filtered {...props} text={text} isMissing={isMissing} />;
  return (
    <Select
      id={id}
      className={basic.control}
      aria-label={label}
      aria-invalid={isMissing && text !== ""}
      value={text}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    >
      {isMissing && (
        <option value={text}>
          {text ? `${text} (missing)` : choices.length ? "Choose …" : (props.none ?? "Nothing to choose")}
        </option>
      )}
      {choices.map((choice) => (
        <option key={choice}>{choice}</option>
      ))}
    </Select>
  );
}

function Filtered({
  id,
  label,
  choices,
  onChange,
  disabled,
  text,
  isMissing,
  about,
  pictures,
}: Props & { text: string; isMissing: boolean }) {
  const [open, setOpen] = useState(false);
  return (
    <Popover
      open={open}
      onOpenChange={setOpen}
      trigger={
        <button
          id={id}
          type="button"
          className={styles.open}
          aria-label={`${label}: ${text || "none"}`}
          aria-invalid={isMissing}
          disabled={disabled}
        >
          <span>{isMissing && text ? `${text} (missing)` : text || "Choose …"}</span>
          <ChevronsUpDown size={13} />
        </button>
      }
    >
      <Command className={styles.list} defaultValue={text} label={label}>
        <Command.Input autoFocus placeholder="Type to filter" aria-label={`Filter ${label}`} />
        <Command.List>
          <Command.Empty>Nothing is called that.</Command.Empty>
          {choices.map((choice) => (
            <Command.Item
              key={choice}
              value={choice}
              keywords={[about?.get(choice) ?? ""]}
              data-current={choice === text}
              onSelect={() => {
                onChange(choice);
                setOpen(false);
              }}
            >
              {pictures?.has(choice) && <img src={pictures.get(choice)} alt="" loading="lazy" />}
              {choice}
              {about?.get(choice) && <small>{about.get(choice)}</small>}
            </Command.Item>
          ))}
        </Command.List>
      </Command>
    </Popover>
  );
}
