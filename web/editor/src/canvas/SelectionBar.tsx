import {
  AlignStartVertical,
  Cable,
  Copy,
  EyeOff,
  Frame,
  Group,
  Maximize,
  Route,
  Trash2,
  Workflow,
} from "lucide-react";
import { shownKeys } from "../commands/keys";
import { actions, currentContext, perform } from "../commands/registry";
import { useView } from "../state/viewStore";
import { IconButton } from "../ui/Button";
import css from "./canvas.module.css";

const BUTTONS = [
  ["duplicate", Copy],
  ["mute", EyeOff],
  ["bypass", Route],
  ["frame", Frame],
  ["group", Group],
  ["ports", Cable],
  ["align-left", AlignStartVertical],
  ["arrange", Workflow],
  ["fit", Maximize],
  ["delete", Trash2],
] as const;

/** What can be done with the selection, above the canvas, never over a node that was not asked for. */
export function SelectionBar() {
  const count = useView((view) => view.selection.size);
  const context = currentContext();
  if (!count || !context) return null;
  return (
    <div className={css.selectionBar} role="toolbar" aria-label="Selection">
      {BUTTONS.map(([id, Icon]) => {
        const action = actions.find((one) => one.id === id);
        if (!action || !(action.when?.(context) ?? true)) return null;
        return (
          <IconButton key={id} label={action.title} keys={shownKeys(action.keys)} onClick={() => perform(id)}>
            <Icon size={16} />
          </IconButton>
        );
      })}
    </div>
  );
}
