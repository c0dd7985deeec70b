/** Widgets that need room: a row in the node that says what is set, and a dialog that loads when it is opened. */

import { type ComponentType, lazy, Suspense, useState } from "react";
import type { Json } from "../graph/types";
import { Button } from "../ui/Button";
import { readRegions } from "./regionEditor/boxes";
import { readStrokes } from "./strokePad/strokes";
import type { WidgetProps } from "./types";

type Dialog = ComponentType<WidgetProps & { onClose: () => void }>;

function inDialog(
  summary: (value: Json) => string,
  load: () => Promise<{ default: Dialog }>,
): ComponentType<WidgetProps> {
  const Loaded = lazy(load);
  return function DialogWidget(props) {
    const [open, setOpen] = useState(false);
    return (
      <>
        <Button
          id={props.id}
          disabled={props.disabled}
          aria-haspopup="dialog"
          aria-label={`${props.label}: ${summary(props.value)}. Edit`}
          onClick={() => setOpen(true)}
        >
          {summary(props.value)}
        </Button>
        {open && (
          <Suspense fallback={null}>
            <Loaded {...props} onClose={() => setOpen(false)} />
          </Suspense>
        )}
      </>
    );
  };
}

function counted(count: number, one: string, many: string): string {
  return count ? `${count} ${count === 1 ? one : many}` : `Draw ${many} …`;
}

export const RegionWidget = inDialog(
  (value) => counted(readRegions(value).length, "box", "boxes"),
  async () => ({ default: (await import("./regionEditor/RegionDialog")).RegionDialog }),
);

export const StrokeWidget = inDialog(
  (value) => counted(readStrokes(value).length, "stroke", "strokes"),
  async () => ({ default: (await import("./strokePad/StrokePad")).StrokePad }),
);
