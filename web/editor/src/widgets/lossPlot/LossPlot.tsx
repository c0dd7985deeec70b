/** Curves of a run, such as the loss of a training: log axis, smoothing, values under the pointer. */

import { type PointerEvent, useId, useState } from "react";
import styles from "./lossPlot.module.css";
import { type Points, path, place, scaleOf, smooth, ticks } from "./plot";

const [WIDTH, HEIGHT] = [420, 200];
const HUES = ["var(--type-blue)", "var(--type-orange)", "var(--type-green)", "var(--type-pink)"];

interface Props {
  readonly series: Readonly<Record<string, Points>>;
  readonly xLabel?: string;
  readonly yLabel?: string;
}

export function LossPlot({ series, xLabel = "step", yLabel = "value" }: Props) {
  const [log, setLog] = useState(false);
  const [amount, setAmount] = useState(0);
  const [at, setAt] = useState<number | null>(null);
  const clip = useId();
  const curves = Object.entries(series);
  const x = scaleOf(
    curves.flatMap(([, points]) => points.map((p) => p[0])),
    false,
  );
  const y = scaleOf(
    curves.flatMap(([, points]) => points.map((p) => p[1])),
    log,
  );
  const look = (event: PointerEvent<SVGSVGElement>) => {
    const frame = event.currentTarget.getBoundingClientRect();
    const across = (event.clientX - frame.left) / frame.width;
    setAt(x.low + across * (x.high - x.low));
  };
  const summary = curves
    .map(([name, points]) => `${name}: ${points.length} points, last ${short(points.at(-1)?.[1])}`)
    .join("; ");
  return (
    <figure className={styles.plot}>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`${yLabel} over ${xLabel}. ${summary}`}
        onPointerMove={look}
        onPointerLeave={() => setAt(null)}
      >
        <clipPath id={clip}>
          <rect width={WIDTH} height={HEIGHT} />
        </clipPath>
        {ticks(y).map((tick) => {
          const up = HEIGHT * (1 - (place(tick, y) ?? 0));
          return (
            <g key={tick}>
              <line className={styles.grid} x1={0} x2={WIDTH} y1={up} y2={up} />
              <text className={styles.tick} x={4} y={up - 3}>
                {short(tick)}
              </text>
            </g>
          );
        })}
        <g clipPath={`url(#${clip})`}>
          {curves.map(([name, points], index) => (
            <g key={name} stroke={HUES[index % HUES.length]} fill="none">
              {amount > 0 && <path className={styles.raw} d={path(points, x, y, WIDTH, HEIGHT)} />}
              <path className={styles.curve} d={path(smooth(points, amount), x, y, WIDTH, HEIGHT)} />
            </g>
          ))}
        </g>
        {at !== null && (
          <line
            className={styles.grid}
            x1={(place(at, x) ?? 0) * WIDTH}
            x2={(place(at, x) ?? 0) * WIDTH}
            y1={0}
            y2={HEIGHT}
          />
        )}
      </svg>
      <figcaption>
        {curves.map(([name, points], index) => (
          <span key={name}>
            <i style={{ background: HUES[index % HUES.length] }} /> {name} {short(valueAt(points, at))}
          </span>
        ))}
        <span className={styles.axis}>
          {xLabel} {short(at === null ? x.low : at)}
          {at === null && ` to ${short(x.high)}`}
        </span>
      </figcaption>
      <div className={styles.options}>
        <label>
          <input type="checkbox" checked={log} onChange={(event) => setLog(event.target.checked)} /> log axis
        </label>
        <label>
          smooth
          <input
            type="range"
            min={0}
            max={0.98}
            step={0.02}
            value={amount}
            onChange={(event) => setAmount(Number(event.target.value))}
          />
        </label>
      </div>
    </figure>
  );
}

function valueAt(points: Points, at: number | null): number | undefined {
  if (at === null) return points.at(-1)?.[1];
  let best = points[0];
  for (const point of points) if (best && Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
  return best?.[1];
}

function short(value: number | undefined): string {
  return value === undefined ? "" : String(Number(value.toPrecision(4)));
}
