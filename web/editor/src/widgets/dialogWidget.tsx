/** Widgets that need room: a row in the node that says what is set, and a dialog that loads when it is opened. */

import { type ComponentType, lazy, Suspense, useState } from "react";
import { Button } from "../ui/Button";
import { readRegions } from "./regionEditor/boxes";
import { readStrokes } from "./strokePad/strokes";
import type { WidgetProps } from "./types";

const RegionDialog = lazy(async () => ({
  default: (await import("./regionEditor/RegionDialog")).RegionDialog,
}));
const StrokePad = lazy(async () => ({ default: (await import("./strokePad/StrokePad")).StrokePad }));

export function RegionWidget(props: WidgetProps) {
  return (
    <InDialog
      {...props}
      summary={counted(readRegions(props.value).length, "box", "boxes")}
      dialog={RegionDialog}
    />
  );
}

export function StrokeWidget(props: WidgetProps) {
  return (
    <InDialog
      {...props}
      summary={counted(readStrokes(props.value).length, "stroke", "strokes")}
      dialog={StrokePad}
    />
  );
}

interface Props extends WidgetProps {
  readonly summary: string;
  readonly dialog: ComponentType<WidgetProps & { onClose: () => void }>;
}

function InDialog({ summary, dialog: Dialog, ...props }: Props) {
  const [open, setOpen] = useState(false);
  const { id, label, disabled } = props;
  return (
    <>
      <Button
        id={id}
        disabled={disabled}
        aria-haspopup="dialog"
        aria-label={`${label}: ${summary}. Edit`}
        onClick={() => setOpen(true)}
      >
        {summary}
      </Button>
      {open && (
        <Suspense fallback={null}>
          <Dialog {...props} onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  );
}

function counted(count: number, one: string, many: string): string {
  return count ? `${count} ${count === 1 ? one : many}` : `Draw ${many} …`;
}
