import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import { type ReactNode, useRef } from "react";
import { IconButton } from "./Button";
import css from "./ui.module.css";

interface Props {
  title: string;
  open: boolean;
  onClose: () => void;
  wide?: boolean;
  children: ReactNode;
}

/** A dialog over the page; Esc and a press beside it close it. */
export function Dialog({ title, open, onClose, wide = false, children }: Props) {
  const opener = useRef<Element | null>(null); // has the focus again afterwards
  return (
    <Radix.Root open={open} onOpenChange={(next) => next || onClose()}>
      <Radix.Portal>
        {/* Not Radix' overlay: its scroll lock writes a <style>, which the page's policy forbids. */}
        <div className={css.backdrop} />
        <Radix.Content
          className={`${css.dialog} ${wide ? css.wide : ""}`}
          aria-describedby={undefined}
          tabIndex={-1}
          onOpenAutoFocus={(event) => {
            opener.current = document.activeElement;
            focusDialog(event);
          }}
          onCloseAutoFocus={() => {
            if (opener.current instanceof HTMLElement) opener.current.focus();
          }}
        >
          <div className={css.dialogHead}>
            <Radix.Title asChild>
              <h2>{title}</h2>
            </Radix.Title>
            <IconButton label="Close" onClick={onClose}>
              <X size={16} />
            </IconButton>
          </div>
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

/** Focus the dialog itself: on its close button a tooltip would open, and take the first Esc for itself. */
function focusDialog(event: Event): void {
  event.preventDefault();
  const { currentTarget } = event;
  if (currentTarget instanceof HTMLElement && !currentTarget.contains(document.activeElement))
    currentTarget.focus();
}
