/** A curve with points to drag; each point is a control of its own for the keyboard. */

import { type KeyboardEvent, useRef } from "react";
import { addKnot, heightAt, type Knot, moveKnot, removeKnot } from "./curve";
import styles from "./curve.module.css";

interface Props {
  readonly knots: readonly Knot[];
  readonly label: string;
  readonly disabled: boolean;
  readonly onChange: (knots: readonly Knot[]) => void;
}

const SAMPLES = 64;
const MOVES: Readonly<Record<string, Knot>> = {
  ArrowLeft: [-0.01, 0],
  ArrowRight: [0.01, 0],
  ArrowUp: [0, 0.01],
  ArrowDown: [0, -0.01],
};

export function CurveEditor({ knots, label, disabled, onChange }: Props) {
  const box = useRef<SVGSVGElement>(null);
  const dragged = useRef<number | null>(null);
  const spot = (event: { clientX: number; clientY: number }): Knot => {
    const frame = box.current?.getBoundingClientRect();
    if (!frame) return [0, 0];
    return [(event.clientX - frame.left) / frame.width, 1 - (event.clientY - frame.top) / frame.height];
  };
  const onKeyDown = (event: KeyboardEvent, index: number) => {
    const step = MOVES[event.key];
    const [x, y] = knots[index] ?? [0, 0];
    const factor = event.shiftKey ? 10 : 1;
    if (step) onChange(moveKnot(knots, index, [x + step[0] * factor, y + step[1] * factor]));
    else if (event.key === "Delete" || event.key === "Backspace") onChange(removeKnot(knots, index));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const line = Array.from(
    { length: SAMPLES + 1 },
    (_, n) => `${n ? "L" : "M"}${n / SAMPLES} ${1 - heightAt(knots, n / SAMPLES)}`,
  );
  return (
    <div className={styles.frame}>
      <svg
        ref={box}
        viewBox="0 0 1 1"
        preserveAspectRatio="none"
        role="img"
        aria-label={`${label}: curve with ${knots.length} points. Double click adds one, Delete removes one.`}
        onDoubleClick={(event) => !disabled && onChange(addKnot(knots, spot(event)))}
      >
        <path className={styles.grid} d="M0 1L1 0M0 .5H1M.5 0V1" />
        <path className={styles.line} d={line.join("")} />
      </svg>
      {knots.map(([x, y], index) => (
        <button
          // biome-ignore lint/suspicious/noArrayIndexKey: points are told apart by their order
          key={index}
          type="button"
          className={styles.knot}
          style={{ left: `${x * 100}%`, top: `${(1 - y) * 100}%` }}
          disabled={disabled}
          aria-label={`Point ${index + 1} at ${x.toFixed(2)}, ${y.toFixed(2)}; arrow keys move it`}
          onKeyDown={(event) => onKeyDown(event, index)}
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            dragged.current = index;
          }}
          onPointerMove={(event) =>
            dragged.current === index && onChange(moveKnot(knots, index, spot(event)))
          }
          onPointerUp={() => {
            dragged.current = null;
          }}
        />
      ))}
    </div>
  );
}
