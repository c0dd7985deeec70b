/** What the right button offers on the canvas: the actions that can be done with the selection now. */

import { shownKeys } from "./keys";
import { actions, currentContext } from "./registry";

interface Item {
  label: string;
  keys?: string | undefined;
  run: () => void;
}

const GROUPS = ["Edit", "Node", "Arrange"] as const;

/** Return the items, a null between groups. */
export function menuItems(): (Item | null)[] {
  const context = currentContext();
  if (!context) return [];
  const groups = GROUPS.map((group) =>
    actions
      .filter((action) => action.group === group && (action.when?.(context) ?? true))
      .map(
        (action): Item => ({
          label: action.title,
          keys: shownKeys(action.keys),
          run: () => {
            const now = currentContext();
            if (now) action.run(now);
          },
        }),
      ),
  ).filter((items) => items.length > 0);
  return groups.flatMap((items, place) => (place ? [null, ...items] : items));
}
