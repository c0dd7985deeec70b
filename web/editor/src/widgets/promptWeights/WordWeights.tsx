/** A slider for each word of a prompt (`{"prompt": input name}`). */

import { textOf } from "../text/PromptWidget";
import type { WidgetProps } from "../types";
import { option, useSibling } from "../useSibling";
import styles from "./promptWeights.module.css";
import { chips, readWeights, writeWeights } from "./weights";

export function WordWeights(props: WidgetProps) {
  const { spec, value, onChange, disabled, label, id } = props;
  const prompt = textOf(useSibling(props.at, option(props, "prompt", "prompt")));
  const weights = readWeights(value);
  const [low, high] = [spec.low ?? -2, spec.high ?? 3];
  const set = (word: string, weight: number) =>
    onChange(writeWeights({ ...weights, [word]: weight }, spec.type === "STRING"));
  const words = chips(prompt, weights);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would want a legend
    <div className={styles.weights} role="group" aria-label={label} id={id}>
      {!words.length && <p>Write the prompt first; its words appear here.</p>}
      {words.map(({ word, weight, gone }) => (
        <label key={word} data-changed={weight !== 1} data-gone={gone}>
          <span>
            {word}
            {gone && " (not in the prompt)"}
          </span>
          <input
            type="range"
            min={low}
            max={high}
            step={0.1}
            value={weight}
            disabled={disabled}
            onChange={(event) => set(word, Number(event.target.value))}
            onDoubleClick={() => set(word, 1)}
          />
          <output>{weight.toFixed(1)}</output>
        </label>
      ))}
    </div>
  );
}
