import { Tooltip as Radix } from "radix-ui";
import type { ReactNode } from "react";
import css from "./ui.module.css";

interface Props {
  text: string;
  side?: "top" | "right" | "bottom" | "left";
  children: ReactNode;
}

/** A tooltip on its one child. `TooltipProvider` must be around the page. */
export function Tooltip({ text, side = "bottom", children }: Props) {
  if (!text) return children;
  return (
    <Radix.Root>
      <Radix.Trigger asChild>{children}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content className={css.tooltip} side={side} sideOffset={5} collisionPadding={8}>
          {text}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

export function TooltipProvider({ children }: { children: ReactNode }) {
  return <Radix.Provider delayDuration={500}>{children}</Radix.Provider>;
}
