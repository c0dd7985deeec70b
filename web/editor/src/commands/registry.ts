/** Every action of the editor, once: keys, palette and menus all read this table. */

import { useCatalogue } from "../state/catalogueStore";
import { useTabs } from "../state/tabs";
import { useView } from "../state/viewStore";
import { editActions } from "./edit";
import { isTyping, pressed } from "./keys";
import { nodeActions } from "./node";
import type { Action, Context } from "./types";
import { viewActions } from "./view";
import { workflowActions } from "./workflow";

export const actions: readonly Action[] = [
  ...editActions,
  ...nodeActions,
  ...viewActions,
  ...workflowActions,
];

/** Return what actions work on now, or null while nothing is open. */
export function currentContext(): Context | null {
  const document = useTabs.getState().active?.getState();
  if (!document) return null;
  const { path, selection } = useView.getState();
  const scope = path.at(-1)?.scope ?? "";
  return { document, scope, catalogue: useCatalogue.getState().nodes, selection: [...selection] };
}

/** Run an action by its id, if it can be run now. */
export function perform(id: string): void {
  const action = actions.find((one) => one.id === id);
  const context = currentContext();
  if (action && context && (action.when?.(context) ?? true)) action.run(context);
}

/** Run the action of the keys that were pressed; returns whether there was one. */
export function performKeys(event: KeyboardEvent): boolean {
  const context = currentContext();
  if (!context || event.defaultPrevented) return false;
  const keys = pressed(event);
  const typing = isTyping(event.target);
  const action = actions.find(
    (one) => one.keys?.includes(keys) && (one.global || !typing) && (one.when?.(context) ?? true),
  );
  if (!action || (isControl(event) && !action.global)) return false;
  event.preventDefault();
  action.run(context);
  return true;
}

/** Plain keys on a focused button or menu belong to it. */
function isControl({ target, key, ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
  if (ctrlKey || metaKey || altKey || /^F\d+$/.test(key) || !(target instanceof HTMLElement)) return false;
  return (
    target.closest(
      "button, a, [role=menu], [role=dialog], [role=listbox], [role=tablist], [type=checkbox]",
    ) !== null
  );
}
