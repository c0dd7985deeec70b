/** To the place of a problem: the node is shown and its field gets the focus. */

import type { Problem } from "../../graph/types";
import { useView } from "../../state/viewStore";

const TRIES = 20;

export function goTo(problem: Problem): void {
  const { announce, reveal, mode } = useView.getState();
  announce(problem.message);
  if (!problem.node) return;
  if (mode === "graph") reveal(problem.node);
  if (problem.field) focusField(problem.node, problem.field, TRIES);
}

/** Focus the control of an input as soon as it is drawn; a linked input has none. */
function focusField(node: string, field: string, tries: number): void {
  const control = document.querySelector<HTMLElement>(
    `[data-field="${CSS.escape(`${node}.${field}`)}"] :is(input, textarea, select, button)`,
  );
  if (control) control.focus({ preventScroll: false });
  else if (tries > 0) requestAnimationFrame(() => focusField(node, field, tries - 1));
}
