import { ContextMenu as Context, DropdownMenu as Dropdown } from "radix-ui";
import type { ReactNode } from "react";
import css from "./ui.module.css";

export interface MenuItem {
  label: string;
  keys?: string | undefined;
  disabled?: boolean;
  run: () => void;
}

/** `null` draws a line. */
export type MenuItems = readonly (MenuItem | null)[];

interface Props {
  items: MenuItems;
  /** What opens it; one element. */
  children: ReactNode;
  align?: "start" | "end";
}

// Not modal: Radix' scroll lock of modal menus writes a <style>, which the page's policy forbids.

/** A menu that opens from a button. */
export function Menu({ items, children, align = "start" }: Props) {
  return (
    <Dropdown.Root modal={false}>
      <Dropdown.Trigger asChild>{children}</Dropdown.Trigger>
      <Dropdown.Portal>
        <Dropdown.Content className={css.floating} align={align} sideOffset={4} collisionPadding={8}>
          {items.map((item, place) =>
            item ? (
              <Dropdown.Item
                key={item.label}
                className={css.item}
                disabled={item.disabled ?? false}
                onSelect={item.run}
              >
                {item.label} <span className={css.keys}>{item.keys}</span>
              </Dropdown.Item>
            ) : (
              // biome-ignore lint/suspicious/noArrayIndexKey: lines have no name
              <Dropdown.Separator key={place} className={css.separator} />
            ),
          )}
        </Dropdown.Content>
      </Dropdown.Portal>
    </Dropdown.Root>
  );
}

/** A menu that opens with the right button, or Shift+F10. */
export function ContextMenu({ items, children }: Props) {
  return (
    <Context.Root modal={false}>
      <Context.Trigger asChild>{children}</Context.Trigger>
      <Context.Portal>
        <Context.Content className={css.floating} collisionPadding={8}>
          {items.map((item, place) =>
            item ? (
              <Context.Item
                key={item.label}
                className={css.item}
                disabled={item.disabled ?? false}
                onSelect={item.run}
              >
                {item.label} <span className={css.keys}>{item.keys}</span>
              </Context.Item>
            ) : (
              // biome-ignore lint/suspicious/noArrayIndexKey: lines have no name
              <Context.Separator key={place} className={css.separator} />
            ),
          )}
        </Context.Content>
      </Context.Portal>
    </Context.Root>
  );
}
