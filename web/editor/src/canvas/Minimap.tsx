import { useReactFlow, useViewport } from "@xyflow/react";
import { type PointerEvent, useEffect, useMemo, useRef } from "react";
import { around } from "../graph/arrange";
import css from "./canvas.module.css";
import { boxesOf, type FlowNode } from "./flow";

const WIDTH = 180;
const HEIGHT = 120;
const ROOM = 200;
const EVERY_MS = 100; // one element for all nodes, drawn ten times a second at most: React Flow's own doubles the cost of a pan

/** The whole graph in small; press or drag to go there. */
export function Minimap({ nodes }: { nodes: readonly FlowNode[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const flow = useReactFlow();
  const { x, y, zoom } = useViewport();
  const boxes = useMemo(() => Object.values(boxesOf(nodes)), [nodes]);
  const world = useMemo(() => {
    const hull = around(boxes) ?? { x: 0, y: 0, width: 1, height: 1 };
    const scale = Math.min(WIDTH / (hull.width + ROOM * 2), HEIGHT / (hull.height + ROOM * 2));
    return {
      hull,
      scale,
      left: hull.x + hull.width / 2 - WIDTH / scale / 2,
      top: hull.y + hull.height / 2 - HEIGHT / scale / 2,
    };
  }, [boxes]);

  const latest = useRef({ boxes, world, view: { x, y, zoom } });
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    latest.current = { boxes, world, view: { x, y, zoom } };
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      draw(canvas.current, latest.current);
    }, EVERY_MS);
  }, [boxes, world, x, y, zoom]);
  useEffect(
    () => () => {
      clearTimeout(timer.current);
      timer.current = undefined;
    },
    [],
  );

  const go = (event: PointerEvent<HTMLCanvasElement>) => {
    if (event.buttons !== 1) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    const box = event.currentTarget.getBoundingClientRect();
    const at = {
      x: (event.clientX - box.x) / world.scale + world.left,
      y: (event.clientY - box.y) / world.scale + world.top,
    };
    void flow.setCenter(at.x, at.y, { zoom });
  };
  return (
    <canvas
      ref={canvas}
      className={css.minimap}
      width={WIDTH * 2}
      height={HEIGHT * 2}
      role="img"
      aria-label="The whole graph in small"
      onPointerDown={go}
      onPointerMove={go}
    />
  );
}

interface World {
  left: number;
  top: number;
  scale: number;
}

interface Scene {
  boxes: readonly { x: number; y: number; width: number; height: number }[];
  world: World;
  view: { x: number; y: number; zoom: number };
}

function draw(canvas: HTMLCanvasElement | null, { boxes, world, view }: Scene): void {
  const { left, top, scale } = world;
  const paper = canvas?.getContext("2d");
  const holder = canvas?.parentElement;
  if (!canvas || !paper || !holder) return;
  const look = getComputedStyle(canvas);
  paper.setTransform(2, 0, 0, 2, 0, 0);
  paper.clearRect(0, 0, WIDTH, HEIGHT);
  paper.fillStyle = look.getPropertyValue("--edge");
  for (const box of boxes) {
    paper.fillRect(
      (box.x - left) * scale,
      (box.y - top) * scale,
      Math.max(2, box.width * scale),
      Math.max(1.5, box.height * scale),
    );
  }
  paper.strokeStyle = look.getPropertyValue("--accent");
  paper.lineWidth = 1.5;
  const factor = scale / view.zoom;
  paper.strokeRect(
    (-view.x / view.zoom - left) * scale,
    (-view.y / view.zoom - top) * scale,
    holder.clientWidth * factor,
    holder.clientHeight * factor,
  );
}
