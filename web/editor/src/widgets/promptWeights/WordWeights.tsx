/** A slider for each word of a prompt (`{"prompt": input name}`), with the tokens that the model's tokenizer makes of it. */

import { textOf } from "../text/PromptWidget";
import type { WidgetProps } from "../types";
import { option, useSibling } from "../useSibling";
import styles from "./promptWeights.module.css";
import { useTokens } from "./useTokens";
import { chips, readWeights, writeWeights } from "./weights";

export function WordWeights(props: WidgetProps) {
  const { spec, value, onChange, disabled, label, id, at } = props;
  const named = useSibling(at, option(props, "prompt", "prompt"));
  const text = useSibling(at, "text");
  const prompt = textOf(named ?? text);
  const tokens = useTokens(at, prompt);
  const weights = readWeights(value);
  const [low, high] = [spec.low ?? -2, spec.high ?? 3];
  const set = (word: string, weight: number) =>
    onChange(writeWeights({ ...weights, [word]: weight }, spec.type === "STRING"));
  const words = chips(prompt, weights, tokens?.words);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would want a legend
    <div className={styles.weights} role="group" aria-label={label} id={id}>
      {!words.length && <p>Write the prompt first; its words appear here.</p>}
      {words.map(({ word, weight, gone, tokens: parts }) => (
        <label key={word} data-changed={weight !== 1} data-gone={gone}>
          <span>
            {word}
            {parts.length > 1 && <small title="Its tokens"> {parts.join("·")}</small>}
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
      {tokens && (
        <p data-over={tokens.chunks > 1}>
          {tokens.count} of {tokens.room} tokens
          {tokens.chunks > 1 && `, read in ${tokens.chunks} parts`}
        </p>
      )}
    </div>
  );
}
