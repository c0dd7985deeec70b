import { BaseEdge, type EdgeProps, useReactFlow } from "@xyflow/react";
import { type PointerEvent, useContext, useState } from "react";
import { bend } from "../graph/commands";
import type { Point } from "../graph/types";
import { useDocumentStore } from "../state/tabs";
import { useScope } from "../state/viewStore";
import css from "./canvas.module.css";
import { FarContext } from "./far";
import { HIT, type LinkEdge, socketName } from "./flow";
import { linkPath } from "./linkPath";
import { colorOf } from "./typeLook";

/** A link in the colour of its type, led through its bends. Alt-press adds a bend; a double press on one removes it. */
export function LinkView({
  id,
  sourceX,
  sourceY,
  targetX,
  targetY,
  target,
  targetHandleId,
  data,
  selected,
}: EdgeProps<LinkEdge>) {
  const isFar = useContext(FarContext);
  const document = useDocumentStore();
  const scope = useScope();
  const flow = useReactFlow();
  const [dragged, setDragged] = useState<Point[] | null>(null);
  const bends = dragged ?? data?.bends ?? [];
  const from = { x: sourceX - HIT / 2, y: sourceY };
  const to = { x: targetX + HIT / 2, y: targetY };
  const save = (points: readonly Point[]) =>
    document.getState().run(bend(scope, target, socketName(targetHandleId), points));

  const addBend = (event: PointerEvent) => {
    if (!event.altKey) return;
    event.stopPropagation();
    const at = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY });
    save([...bends, rounded(at)].sort((a, b) => a.x - b.x));
  };
  const drag = (place: number) => (event: PointerEvent<SVGCircleElement>) => {
    if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
    const at = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY });
    setDragged(bends.map((point, n) => (n === place ? rounded(at) : point)));
  };
  return (
    <g data-dim={data?.dim} className={css.link} onPointerDown={addBend}>
      <BaseEdge
        id={id}
        path={linkPath(from, bends, to)}
        interactionWidth={isFar ? 0 : 16}
        style={{ stroke: colorOf(data?.type ?? "ANY"), strokeWidth: selected ? 4 : 2 }}
      />
      {!isFar &&
        bends.map((point, place) => (
          // biome-ignore lint/a11y/noStaticElementInteractions: looks only; what a link joins is changed by keys
          <circle
            // biome-ignore lint/suspicious/noArrayIndexKey: a bend is its place on the link
            key={place}
            className={`${css.bend} nodrag nopan`}
            cx={point.x}
            cy={point.y}
            r={6}
            fill={colorOf(data?.type ?? "ANY")}
            onPointerDown={(event) => {
              event.stopPropagation();
              event.currentTarget.setPointerCapture(event.pointerId);
            }}
            onPointerMove={drag(place)}
            onPointerUp={() => {
              if (dragged) save(dragged);
              setDragged(null);
            }}
            onDoubleClick={(event) => {
              event.stopPropagation();
              save(bends.filter((_, n) => n !== place));
            }}
          />
        ))}
    </g>
  );
}

function rounded({ x, y }: Point): Point {
  return { x: Math.round(x), y: Math.round(y) };
}
