/** Swiping through links with Alt held cuts them, all in one step. It begins on an empty place. */

import { type PointerEvent, type RefObject, type SyntheticEvent, useRef, useState } from "react";
import { currentContext } from "../../commands/registry";
import { disconnect } from "../../graph/commands";
import type { Point } from "../../graph/types";
import { useView } from "../../state/viewStore";
import { crosses } from "./crossing";

const SAMPLE_PX = 10;

/** Return what the canvas listens to, and the swipe as far as it is drawn, in pixels of the page. */
export function useCutting(holder: RefObject<HTMLElement | null>) {
  const [swipe, setSwipe] = useState<readonly Point[]>([]);
  const points = useRef<Point[]>([]);
  const begin = (event: PointerEvent) => {
    if (!begins(event, event.altKey) || event.button !== 0) return;
    event.stopPropagation(); // else the canvas would move
    event.currentTarget.setPointerCapture(event.pointerId);
    points.current = [{ x: event.clientX, y: event.clientY }];
  };
  const move = (event: PointerEvent) => {
    if (!points.current.length) return;
    points.current.push({ x: event.clientX, y: event.clientY });
    setSwipe([...points.current]);
  };
  const end = () => {
    if (points.current.length > 1 && holder.current) cut(linksThrough(holder.current, points.current));
    points.current = [];
    setSwipe([]);
  };
  const block = (event: SyntheticEvent<Element, MouseEvent>) => {
    if (begins(event, event.nativeEvent.altKey)) event.stopPropagation();
  };
  return {
    swipe,
    handlers: {
      onPointerDownCapture: begin,
      onMouseDownCapture: block,
      onPointerMoveCapture: move,
      onPointerUp: end,
      onPointerCancel: end,
    },
  };
}

function begins({ target }: SyntheticEvent, alt: boolean): boolean {
  return alt && target instanceof Element && target.classList.contains("react-flow__pane");
}

/** Return the ids, `node.input`, of the links that are drawn and crossed. */
function linksThrough(canvas: HTMLElement, swipe: readonly Point[]): string[] {
  return [...canvas.querySelectorAll<SVGGElement>(".react-flow__edge")].flatMap((edge) => {
    const path = edge.querySelector<SVGPathElement>(".react-flow__edge-path");
    const id = edge.getAttribute("data-id");
    return path && id && crosses(swipe, onPage(path)) ? [id] : [];
  });
}

/** Return points along a path, in pixels of the page. */
function onPage(path: SVGPathElement): Point[] {
  const toPage = path.getScreenCTM();
  if (!toPage) return [];
  const length = path.getTotalLength();
  const count = Math.max(2, Math.ceil((length * toPage.a) / SAMPLE_PX));
  return Array.from({ length: count + 1 }, (_, n) =>
    path.getPointAtLength((length * n) / count).matrixTransform(toPage),
  );
}

function cut(ids: readonly string[]): void {
  const context = currentContext();
  if (!context || !ids.length) return;
  const targets = ids.map((id) => {
    const dot = id.lastIndexOf(".");
    return { node: id.slice(0, dot), input: id.slice(dot + 1) };
  });
  context.document.run(disconnect(context.scope, targets));
  useView.getState().announce(`Cut ${ids.length} ${ids.length === 1 ? "link" : "links"}`);
}
