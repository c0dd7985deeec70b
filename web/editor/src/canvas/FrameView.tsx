import { type NodeProps, NodeResizer } from "@xyflow/react";
import { useRef, useState } from "react";
import { setFrame } from "../graph/commands";
import { GESTURE } from "../graph/history";
import { useDocumentStore } from "../state/tabs";
import { useScope } from "../state/viewStore";
import css from "./canvas.module.css";
import type { FrameNode } from "./flow";

/** A titled area. Dragged by its title it takes along what lies in it. */
export function FrameView({ id, data: { frame }, selected }: NodeProps<FrameNode>) {
  const document = useDocumentStore();
  const scope = useScope();
  const gesture = useRef("");
  const [draft, setDraft] = useState<string | null>(null);
  const save = (change: Partial<typeof frame>, label: string) =>
    document.getState().run(setFrame(scope, id, { ...frame, ...change }, label));
  const commit = () => {
    if (draft !== null && draft !== frame.title) save({ title: draft }, "name frame");
    setDraft(null);
  };
  return (
    <div className={css.frame} data-selected={selected}>
      <NodeResizer
        isVisible={selected}
        minWidth={160}
        minHeight={100}
        onResizeStart={() => {
          gesture.current = `${GESTURE}${id} ${performance.now()}`;
        }}
        onResize={(_, { x, y, width, height }) => {
          const box = {
            ...frame,
            x: Math.round(x),
            y: Math.round(y),
            width: Math.round(width),
            height: Math.round(height),
          };
          document.getState().run({ ...setFrame(scope, id, box, "resize frame"), merge: gesture.current });
        }}
      />
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the title can also be changed in the inspector */}
      <div className={`${css.frameTitle} frame-grip`} onDoubleClick={() => setDraft(frame.title)}>
        {draft === null ? (
          frame.title || "Frame"
        ) : (
          <input
            // biome-ignore lint/a11y/noAutofocus: somebody just asked to write here
            autoFocus
            className="nodrag"
            aria-label="Title of the frame"
            value={draft}
            onChange={(event) => setDraft(event.target.value)}
            onBlur={commit}
            onKeyDown={(event) => {
              if (event.key === "Enter") commit();
              if (event.key === "Escape") setDraft(null);
              event.stopPropagation();
            }}
          />
        )}
      </div>
    </div>
  );
}
