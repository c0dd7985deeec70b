/** Where a model looked for each word: a heat map over the picture, word by word, on every grid that was kept. */

import { useEffect, useId, useRef, useState } from "react";
import { fileUrl } from "../../server/api";
import { Select } from "../../ui/Field";
import { loadPicture, pixelsOf } from "../regionEditor/pixels";
import styles from "./attentionView.module.css";
import { type Attention, heatOf, strongest } from "./heat";

interface Props {
  readonly said: Attention;
  /** The picture if there is one, then a strip for each grid. */
  readonly digests: readonly string[];
}

export function AttentionView({ said: { words, grids, picture }, digests }: Props) {
  const name = useId();
  const [word, setWord] = useState(() => strongest(grids.at(-1)?.peaks ?? []));
  const [grid, setGrid] = useState(grids.length - 1);
  const [strength, setStrength] = useState(picture ? 0.65 : 1);
  const [common, setCommon] = useState(false);
  const [failed, setFailed] = useState("");
  const canvas = useRef<HTMLCanvasElement>(null);
  const shown = grids[grid];
  const strip = digests[grid + (picture ? 1 : 0)];
  const peak = shown?.peaks[word] ?? 0;
  const factor = common ? peak / Math.max(1e-12, ...(shown?.peaks ?? [])) : 1;

  useEffect(() => {
    if (!shown || !strip) return;
    let stale = false;
    loadPicture(fileUrl(strip)).then(
      (image) => {
        const on = canvas.current?.getContext("2d");
        if (stale || !on) return;
        const { data } = pixelsOf(image, shown.width * words.length, shown.height);
        const { width, height } = shown;
        on.putImageData(new ImageData(heatOf(data, words.length, word, shown, factor), width, height), 0, 0);
        setFailed("");
      },
      (error: Error) => stale || setFailed(error.message),
    );
    return () => {
      stale = true;
    };
  }, [shown, strip, word, words.length, factor]);

  if (!shown) return null;
  return (
    <figure className={styles.view}>
      <div className={styles.stack} style={{ aspectRatio: `${shown.width} / ${shown.height}` }}>
        {picture && digests[0] && <img src={fileUrl(digests[0])} alt="" draggable={false} />}
        <canvas
          ref={canvas}
          width={shown.width}
          height={shown.height}
          style={{ opacity: strength }}
          role="img"
          aria-label={`Attention to “${words[word]}” on a grid of ${shown.size}: at most ${percent(peak)} of a cell`}
        />
      </div>
      {failed && <p role="alert">{failed}</p>}
      <div className={styles.words} role="radiogroup" aria-label="Word">
        {words.map((text, place) => (
          <label
            // biome-ignore lint/suspicious/noArrayIndexKey: a word may stand twice in a prompt
            key={place}
            data-chosen={place === word}
            title={`At most ${percent(shown.peaks[place] ?? 0)} of a cell's attention`}
          >
            <input type="radio" name={name} checked={place === word} onChange={() => setWord(place)} />
            {text}
          </label>
        ))}
      </div>
      <div className={styles.options}>
        {grids.length > 1 && (
          <label htmlFor={`${name}grid`}>
            Grid
            <Select id={`${name}grid`} value={grid} onChange={(event) => setGrid(Number(event.target.value))}>
              {grids.map(({ size }, place) => (
                <option key={size} value={place}>
                  {size}
                </option>
              ))}
            </Select>
          </label>
        )}
        {picture && (
          <label>
            Strength
            <input
              type="range"
              min={0}
              max={1}
              step={0.05}
              value={strength}
              onChange={(event) => setStrength(Number(event.target.value))}
            />
          </label>
        )}
        <label>
          <input type="checkbox" checked={common} onChange={(event) => setCommon(event.target.checked)} /> one
          scale for all words
        </label>
      </div>
    </figure>
  );
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}
