/** A seed: thrown anew, or locked so that Run leaves it alone. */

import { Dices, Lock, LockOpen } from "lucide-react";
import { useRunSettings } from "../../state/runSettings";
import { useDocument } from "../../state/tabs";
import { IconButton } from "../../ui/Button";
import basic from "../basic/basic.module.css";
import { NumberWidget } from "../number/NumberWidget";
import type { WidgetProps } from "../types";

const READABLE = 2 ** 32; // short enough to read out

export function SeedWidget(props: WidgetProps) {
  const { spec, at, onChange, disabled } = props;
  const key = useDocument((d) => d.key);
  const { locked, seeds, set } = useRunSettings();
  const name = `${key}/${at?.node}.${spec.name}`;
  const isLocked = locked.includes(name);
  return (
    <span className={basic.pair}>
      <NumberWidget {...props} />
      <IconButton
        label="New seed"
        disabled={disabled}
        onClick={() => onChange(Math.floor(Math.random() * Math.min(READABLE, spec.high ?? READABLE)))}
      >
        <Dices size={15} />
      </IconButton>
      {seeds !== "keep" && at?.scope === "" && (
        <IconButton
          label={isLocked ? "Locked: Run leaves this seed alone" : "Lock this seed"}
          aria-pressed={isLocked}
          onClick={() => set({ locked: isLocked ? locked.filter((one) => one !== name) : [...locked, name] })}
        >
          {isLocked ? <Lock size={14} /> : <LockOpen size={14} />}
        </IconButton>
      )}
    </span>
  );
}
