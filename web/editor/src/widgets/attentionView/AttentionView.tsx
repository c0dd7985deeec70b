/** Where a model looked for each word: a heat map over the picture, one word at a time. */

import { useState } from "react";
import styles from "./attentionView.module.css";

interface Props {
  readonly picture: string | null;
  readonly maps: readonly { word: string; url: string }[];
}

export function AttentionView({ picture, maps }: Props) {
  const [chosen, setChosen] = useState(0);
  const [strength, setStrength] = useState(0.7);
  const map = maps[chosen];
  return (
    <figure className={styles.view}>
      <div className={styles.stack}>
        {picture && <img src={picture} alt="" />}
        {map && (
          <img
            className={picture ? styles.heat : undefined}
            src={map.url}
            style={{ opacity: picture ? strength : 1 }}
            alt={`Attention to “${map.word}”`}
          />
        )}
      </div>
      <div className={styles.words} role="radiogroup" aria-label="Word">
        {maps.map(({ word, url }, index) => (
          <label key={url + word} data-chosen={index === chosen}>
            <input
              type="radio"
              name={`word-${maps[0]?.url}`}
              checked={index === chosen}
              onChange={() => setChosen(index)}
            />
            {word}
          </label>
        ))}
      </div>
      {picture && (
        <label className={styles.strength}>
          Strength of the map
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
    </figure>
  );
}
