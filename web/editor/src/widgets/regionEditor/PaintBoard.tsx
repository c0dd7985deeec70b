/** A picture to paint on: brush, eraser, lasso. Pointer events only, so that pens and fingers work like a mouse. */

import { type PointerEvent, type RefObject, useImperativeHandle, useRef } from "react";
import styles from "./regionEditor.module.css";

export type Tool = "brush" | "eraser" | "lasso";

export interface Board {
  /** What is painted, in the picture's own pixels. */
  readonly canvas: HTMLCanvasElement;
  readonly undo: () => void;
  readonly redo: () => void;
  /** Change all of it at once, as one step. */
  readonly change: (paint: (context: CanvasRenderingContext2D) => void) => void;
}

interface Props {
  readonly board: RefObject<Board | null>;
  readonly picture: string | null;
  readonly width: number;
  readonly height: number;
  readonly tool: Tool | null;
  /** Brush width in the picture's pixels. */
  readonly size: number;
  readonly color: string;
  readonly veil: boolean;
  readonly label: string;
  readonly onPainted: () => void;
}

const STEPS_MAX = 20;
const STEPS_BYTES = 256 * 2 ** 20; // a step keeps the whole board

interface Spot {
  readonly x: number;
  readonly y: number;
}

export function PaintBoard({
  board,
  picture,
  width,
  height,
  tool,
  size,
  color,
  veil,
  label,
  onPainted,
}: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const past = useRef<ImageData[]>([]);
  const future = useRef<ImageData[]>([]);
  const trail = useRef<Spot[]>([]);

  const context = () => canvas.current?.getContext("2d", { willReadFrequently: true }) ?? null;
  const snapshot = () => context()?.getImageData(0, 0, width, height);
  const remember = () => {
    const now = snapshot();
    const kept = Math.max(1, Math.min(STEPS_MAX, Math.floor(STEPS_BYTES / (4 * width * height))));
    if (now) past.current = [...past.current, now].slice(-kept);
    future.current = [];
  };
  const travel = (from: RefObject<ImageData[]>, to: RefObject<ImageData[]>) => {
    const [there, now] = [from.current.pop(), snapshot()];
    if (!there || !now) return;
    to.current.push(now);
    context()?.putImageData(there, 0, 0);
    onPainted();
  };

  useImperativeHandle(board, () => ({
    get canvas() {
      if (!canvas.current) throw new Error("The board is not shown yet.");
      return canvas.current;
    },
    undo: () => travel(past, future),
    redo: () => travel(future, past),
    change: (paint) => {
      const on = context();
      if (!on) return;
      remember();
      paint(on);
      onPainted();
    },
  }));

  const spot = (event: PointerEvent): Spot => {
    const frame = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - frame.left) * width) / frame.width;
    return { x, y: ((event.clientY - frame.top) * height) / frame.height };
  };

  const line = (from: Spot, to: Spot, pressure: number) => {
    const on = context();
    if (!on) return;
    on.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    on.strokeStyle = color;
    on.lineCap = "round";
    on.lineWidth = size * pressure;
    on.beginPath();
    on.moveTo(from.x, from.y);
    on.lineTo(to.x, to.y);
    on.stroke();
    on.globalCompositeOperation = "source-over";
  };

  const down = (event: PointerEvent) => {
    if (!tool || event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    remember();
    trail.current = [spot(event)];
    const [first] = trail.current;
    if (first && tool !== "lasso") line(first, first, pressureOf(event));
  };
  const move = (event: PointerEvent) => {
    const last = trail.current.at(-1);
    if (!tool || !last) return;
    const here = spot(event);
    trail.current.push(here);
    line(last, here, tool === "lasso" ? Math.min(1, 2 / size) : pressureOf(event));
  };
  const up = () => {
    if (!trail.current.length) return;
    const on = context();
    if (on && tool === "lasso" && trail.current.length > 2) {
      on.fillStyle = color;
      on.beginPath();
      for (const { x, y } of trail.current) on.lineTo(x, y);
      on.fill();
    }
    trail.current = [];
    onPainted();
  };

  return (
    <>
      {picture && <img className={styles.picture} src={picture} alt="" draggable={false} />}
      <canvas
        ref={canvas}
        className={styles.layer}
        data-veil={veil}
        data-tool={tool ?? "none"}
        width={width}
        height={height}
        role="img"
        aria-label={label}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
      />
    </>
  );
}

function pressureOf(event: PointerEvent): number {
  return event.pointerType === "pen" ? Math.max(0.15, event.pressure * 2) : 1;
}
