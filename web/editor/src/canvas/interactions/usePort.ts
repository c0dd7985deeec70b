import { useReactFlow } from "@xyflow/react";
import { type DragEvent, type PointerEvent, type RefObject, useEffect, useMemo, useRef } from "react";
import type { Point } from "../../graph/types";
import { useCanvas } from "../../state/canvasPort";
import { useView } from "../../state/viewStore";
import { addNodeOf } from "../addNode";
import { boxesOf, type FlowNode } from "../flow";
import { viewports } from "../viewports";

/** The media type of a node type that is dragged from a list onto the canvas; the data is its id. */
export const NODE_MEDIA = "application/x-sfumato-node";

export const FIT = { padding: 0.12, maxZoom: 1 };
const SETTLED_MS = 1500;
const reached = new WeakSet<object>();

interface Place {
  /** Under which name the view is remembered. */
  place: string;
  /** Whether to show everything at the start; else the view is one that people come back to. */
  fits: boolean;
}

/** Let commands reach this canvas, and node types be dropped on it. */
export function usePort(
  nodes: readonly FlowNode[],
  holder: RefObject<HTMLDivElement | null>,
  { place, fits }: Place,
) {
  const flow = useReactFlow();
  const latest = useRef(nodes);
  latest.current = nodes;
  const pointer = useRef<Point | null>(null);
  const goal = useView((view) => view.goal);

  useEffect(() => {
    const middle = (): Point => {
      const box = holder.current?.getBoundingClientRect();
      return box ? { x: box.x + box.width / 2, y: box.y + box.height / 2 } : { x: 0, y: 0 };
    };
    useCanvas.setState({
      port: {
        boxes: () => boxesOf(latest.current),
        pointer: () => flow.screenToFlowPosition(pointer.current ?? middle()),
        fit: (ids) =>
          void flow.fitView({
            padding: 0.15,
            maxZoom: 1,
            duration: motion(),
            ...(ids ? { nodes: ids.map((id) => ({ id })) } : {}),
          }),
        zoom: (by) => void flow.zoomTo(flow.getZoom() * by, { duration: motion() }),
        focus: () => holder.current?.querySelector<HTMLElement>("[role=application]")?.focus(),
      },
    });
    return () => useCanvas.setState({ port: null, palette: null });
  }, [flow, holder]);

  useEffect(() => {
    const node = goal && latest.current.find((one) => one.id === goal.node);
    if (!goal || !node || reached.has(goal)) return; // a canvas that is shown again stays where it was
    reached.add(goal);
    const zoom = Math.max(0.7, flow.getZoom());
    const x = node.position.x + (node.width ?? 0) / 2;
    void flow.setCenter(x, node.position.y + (node.height ?? 0) / 2, { zoom, duration: motion() });
  }, [goal, flow]);

  useEffect(() => {
    if (!fits) return;
    // The docks take their room a moment after the canvas is there; what was fitted before would be cut off.
    const opened = performance.now();
    const observer = new ResizeObserver(() => {
      if (performance.now() - opened > SETTLED_MS) observer.disconnect();
      else requestAnimationFrame(() => void flow.fitView(FIT));
    });
    if (holder.current) observer.observe(holder.current);
    return () => observer.disconnect();
  }, [flow, holder, fits]);

  useEffect(() => () => void viewports.set(place, flow.getViewport()), [flow, place]);

  return useMemo(
    () => ({
      toGraph: (screen: Point) => flow.screenToFlowPosition(screen),
      onPointerMove: (event: PointerEvent) => {
        pointer.current = { x: event.clientX, y: event.clientY };
      },
      onDragOver: (event: DragEvent) => {
        if (event.dataTransfer.types.includes(NODE_MEDIA)) event.preventDefault();
      },
      onDrop: (event: DragEvent) => {
        const type = event.dataTransfer.getData(NODE_MEDIA);
        if (!type) return;
        event.preventDefault();
        addNodeOf(type, flow.screenToFlowPosition({ x: event.clientX, y: event.clientY }), null);
      },
    }),
    [flow],
  );
}

function motion(): number {
  return matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 150;
}
