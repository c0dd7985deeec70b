/** Two pictures: side by side, a slider between them, in turn, or what differs. Keys 1 to 4. */

import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { loadPicture, pixelsOf } from "../regionEditor/pixels";
import styles from "./compare.module.css";
import { difference } from "./difference";

export type CompareMode = "side" | "slider" | "difference" | "flicker";
const MODES: readonly { mode: CompareMode; label: string }[] = [
  { mode: "side", label: "Side by side" },
  { mode: "slider", label: "Slider" },
  { mode: "difference", label: "Difference" },
  { mode: "flicker", label: "In turn" },
];

export interface Shown {
  readonly url: string;
  readonly label: string;
}

export function Compare({ before, after }: { before: Shown; after: Shown }) {
  const [mode, setMode] = useState<CompareMode>("slider");
  const onKeyDown = (event: KeyboardEvent) => {
    const chosen = MODES[Number(event.key) - 1];
    if (!chosen || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    setMode(chosen.mode);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the keys are a shortcut for the buttons inside
    <div className={styles.compare} onKeyDown={onKeyDown}>
      <div className={styles.modes} role="toolbar" aria-label="How to compare">
        {MODES.map((choice, index) => (
          <button
            key={choice.mode}
            type="button"
            aria-pressed={mode === choice.mode}
            onClick={() => setMode(choice.mode)}
          >
            {choice.label} <kbd>{index + 1}</kbd>
          </button>
        ))}
      </div>
      {mode === "side" && (
        <div className={styles.side}>
          {[before, after].map((shown) => (
            <figure key={shown.label}>
              <img src={shown.url} alt={shown.label} />
              <figcaption>{shown.label}</figcaption>
            </figure>
          ))}
        </div>
      )}
      {mode === "slider" && <Slider before={before} after={after} />}
      {mode === "difference" && <Difference before={before} after={after} />}
      {mode === "flicker" && <Flicker before={before} after={after} />}
    </div>
  );
}

function Slider({ before, after }: { before: Shown; after: Shown }) {
  const [part, setPart] = useState(50);
  return (
    <div className={styles.slider}>
      <div className={styles.stack}>
        <img src={after.url} alt={after.label} />
        <img
          className={styles.over}
          src={before.url}
          alt={before.label}
          style={{ clipPath: `inset(0 ${100 - part}% 0 0)` }}
        />
        <div className={styles.edge} style={{ left: `${part}%` }} />
        <input
          className={styles.drag}
          type="range"
          min={0}
          max={100}
          step={0.5}
          value={part}
          aria-label={`Edge between ${before.label} and ${after.label}`}
          onChange={(event) => setPart(Number(event.target.value))}
        />
      </div>
      <p className={styles.labels}>
        <span>{before.label}</span>
        <span>{after.label}</span>
      </p>
    </div>
  );
}

function Flicker({ before, after }: { before: Shown; after: Shown }) {
  const [second, setSecond] = useState(false);
  return (
    <button type="button" className={styles.flicker} aria-pressed={second} onClick={() => setSecond(!second)}>
      <img src={(second ? after : before).url} alt={(second ? after : before).label} />
      <span>{(second ? after : before).label} (press for the other)</span>
    </button>
  );
}

function Difference({ before, after }: { before: Shown; after: Shown }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [said, setSaid] = useState("Comparing …");
  const [gain, setGain] = useState(4);
  useEffect(() => {
    let stale = false;
    Promise.all([loadPicture(before.url), loadPicture(after.url)])
      .then(([a, b]) => {
        if (stale || !canvas.current) return;
        const [width, height] = [b.naturalWidth, b.naturalHeight];
        const found = difference(pixelsOf(a, width, height).data, pixelsOf(b, width, height).data, gain);
        canvas.current.width = width;
        canvas.current.height = height;
        canvas.current.getContext("2d")?.putImageData(new ImageData(found.rgba, width, height), 0, 0);
        const scaled = a.naturalWidth !== width || a.naturalHeight !== height ? " (brought to one size)" : "";
        const part = (100 * found.changed).toFixed(1);
        setSaid(
          found.changed
            ? `${part} % of the pixels differ, by ${found.largest} of 255 at most${scaled}.`
            : "Not one pixel differs.",
        );
      })
      .catch((error: Error) => setSaid(error.message));
    return () => {
      stale = true;
    };
  }, [before.url, after.url, gain]);
  return (
    <div className={styles.slider}>
      <canvas
        ref={canvas}
        className={styles.difference}
        role="img"
        aria-label={`Difference of ${before.label} and ${after.label}`}
      />
      <p className={styles.labels} aria-live="polite">
        <span>{said}</span>
        <label>
          Amplified
          <select value={gain} onChange={(event) => setGain(Number(event.target.value))}>
            {[1, 4, 16].map((factor) => (
              <option key={factor} value={factor}>
                {factor} ×
              </option>
            ))}
          </select>
        </label>
      </p>
    </div>
  );
}
