import type { ComponentProps, ReactNode } from "react";
import { Tooltip } from "./Tooltip";
import css from "./ui.module.css";

type Look = "normal" | "plain" | "primary" | "danger";

interface ButtonProps extends ComponentProps<"button"> {
  look?: Look;
}

export function Button({ look = "normal", className = "", ...rest }: ButtonProps) {
  return <button type="button" className={`${css.button} ${css[look] ?? ""} ${className}`} {...rest} />;
}

interface IconButtonProps extends ButtonProps {
  /** Its name for screen readers and its tooltip. */
  label: string;
  keys?: string | undefined;
  children: ReactNode;
}

/** A button that shows only an icon. */
export function IconButton({ label, keys, look = "plain", className = "", ...rest }: IconButtonProps) {
  return (
    <Tooltip text={keys ? `${label} (${keys})` : label}>
      <Button look={look} aria-label={label} className={`${css.icon} ${className}`} {...rest} />
    </Tooltip>
  );
}
