/** Coloured strokes on a picture, kept as strokes so that they fit any size and can be taken back one by one. */

import { type PointerEvent, useRef, useState } from "react";
import { fileUrl } from "../../server/api";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { usePictureUnder } from "../image/useInputFile";
import styles from "../regionEditor/regionEditor.module.css";
import type { WidgetProps } from "../types";
import { readStrokes, type Stroke, writeStrokes } from "./strokes";

const WIDEST = 40; // percent of the picture
const COLORS = ["#e8413c", "#f0a030", "#f5e050", "#4fae4f", "#3f7fe0", "#7d4fc0", "#ffffff", "#000000"];

export function StrokePad({ value, onChange, label, at, onClose }: WidgetProps & { onClose: () => void }) {
  const { under, underDigest } = usePictureUnder(at);
  const [side, setSide] = useState({ width: 512, height: 512 });
  const [color, setColor] = useState(COLORS[0] ?? "#ff0000");
  const [width, setWidth] = useState(3);
  const [drawn, setDrawn] = useState<Stroke | null>(null);
  const pad = useRef<SVGSVGElement>(null);
  const strokes = readStrokes(value);
  const spot = (event: PointerEvent): readonly [number, number] => {
    const frame = pad.current?.getBoundingClientRect();
    if (!frame) return [0, 0];
    return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  };
  const end = () => {
    if (drawn) onChange(writeStrokes([...strokes, drawn]));
    setDrawn(null);
  };
  return (
    <Dialog title={label} open onClose={onClose} wide>
      <div className={styles.bar} role="toolbar" aria-label="Strokes">
        {COLORS.map((one) => (
          <button
            key={one}
            type="button"
            className={styles.swatch}
            aria-label={`Colour ${one}`}
            aria-pressed={one === color}
            style={{ background: one }}
            onClick={() => setColor(one)}
          />
        ))}
        <label>
          Any <input type="color" value={color} onChange={(event) => setColor(event.target.value)} />
        </label>
        <label>
          Width{" "}
          <input
            type="range"
            min={1}
            max={WIDEST}
            value={width}
            onChange={(event) => setWidth(Number(event.target.value))}
          />{" "}
          {width} %
        </label>
        <Button disabled={!strokes.length} onClick={() => onChange(writeStrokes(strokes.slice(0, -1)))}>
          Take back
        </Button>
        <Button disabled={!strokes.length} onClick={() => onChange(writeStrokes([]))}>
          Clear
        </Button>
      </div>
      <div
        className={styles.stage}
        style={{
          aspectRatio: `${side.width} / ${side.height}`,
          width: `min(100%, ${(62 * side.width) / side.height}vh)`,
        }}
      >
        {underDigest && (
          <img
            className={styles.picture}
            src={fileUrl(underDigest)}
            alt=""
            draggable={false}
            onLoad={({ currentTarget }) =>
              setSide({ width: currentTarget.naturalWidth, height: currentTarget.naturalHeight })
            }
          />
        )}
        <svg
          ref={pad}
          className={styles.layer}
          data-tool="brush"
          viewBox={`0 0 ${side.width} ${side.height}`}
          role="img"
          aria-label={`${strokes.length} strokes`}
          onPointerDown={(event) => {
            if (event.button !== 0) return;
            event.currentTarget.setPointerCapture(event.pointerId);
            setDrawn({ points: [spot(event)], color, width: width / 100 });
          }}
          onPointerMove={(event) => drawn && setDrawn({ ...drawn, points: [...drawn.points, spot(event)] })}
          onPointerUp={end}
          onPointerCancel={end}
        >
          {[...strokes, ...(drawn ? [drawn] : [])].map((stroke, place) => (
            <polyline
              // biome-ignore lint/suspicious/noArrayIndexKey: strokes are told apart by their order
              key={place}
              points={[
                ...stroke.points,
                ...stroke.points.slice(0, 1).filter(() => stroke.points.length === 1),
              ]
                .map(([x, y]) => `${x * side.width},${y * side.height}`)
                .join(" ")}
              fill="none"
              stroke={stroke.color}
              strokeWidth={stroke.width < 1 ? stroke.width * side.width : stroke.width}
              strokeLinecap="round"
              strokeLinejoin="round"
            />
          ))}
        </svg>
      </div>
      <div className={styles.end}>
        <span className={styles.said}>{under ? `On ${under}` : "Link a picture to paint on it."}</span>
        <Button look="primary" onClick={onClose}>
          Done
        </Button>
      </div>
    </Dialog>
  );
}
