import { Dices } from "lucide-react";
import { IconButton } from "../../ui/Button";
import type { WidgetProps } from "../types";
import css from "./basic.module.css";
import { NumberWidget } from "./NumberWidget";

const LARGEST = 2 ** 32; // short enough to read out

export function SeedWidget(props: WidgetProps) {
  return (
    <span className={css.pair}>
      <NumberWidget {...props} />
      <IconButton
        label="New seed"
        disabled={props.disabled}
        onClick={() => props.onChange(Math.floor(Math.random() * LARGEST))}
      >
        <Dices size={15} />
      </IconButton>
    </span>
  );
}
