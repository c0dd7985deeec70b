import { Popover as Radix } from "radix-ui";
import type { ReactNode } from "react";
import css from "./ui.module.css";

interface Props {
  /** The button that opens it; one element. */
  trigger: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  children: ReactNode;
}

/** A small panel that hangs on a button. */
export function Popover({ trigger, children, open, onOpenChange }: Props) {
  const control = open === undefined ? {} : { open };
  return (
    <Radix.Root {...control} {...(onOpenChange ? { onOpenChange } : {})}>
      <Radix.Trigger asChild>{trigger}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content className={css.floating} sideOffset={4} collisionPadding={8}>
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
