import type { ComponentProps } from "react";
import css from "./ui.module.css";

export function TextField({ className = "", ...rest }: ComponentProps<"input">) {
  return <input type="text" className={`${css.field} ${className}`} {...rest} />;
}

export function TextArea({ className = "", ...rest }: ComponentProps<"textarea">) {
  return <textarea className={`${css.field} ${className}`} {...rest} />;
}

export function Select({ className = "", ...rest }: ComponentProps<"select">) {
  return <select className={`${css.field} ${className}`} {...rest} />;
}
