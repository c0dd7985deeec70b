/**
 * Two sliders for each word of a prompt (`{"prompt": where it is written}`): when it begins and when it ends, as parts
 * of the steps. Those of a word without a window of its own stand where all others end, at the input `{"end": name}`.
 */

import { words } from "../promptPair/diff";
import { listed } from "../promptPair/listed";
import { textOf } from "../text/PromptWidget";
import type { WidgetProps } from "../types";
import { option, useSibling } from "../useSibling";
import { moved, readWindows, type Window, writeWindows } from "./windows";
import styles from "./wordWindows.module.css";

const ENDS = ["start", "end"] as const;

export function WordWindows(props: WidgetProps) {
  const { value, onChange, disabled, label, id, at } = props;
  const prompt = textOf(useSibling(at, option(props, "prompt", "prompt")));
  const all = useSibling(at, option(props, "end", "end"));
  const windows = readWindows(value);
  const usual: Window = [0, typeof all === "number" ? all : 1];
  const told = listed(words(prompt), Object.keys(windows));
  const without = (word: string) => Object.fromEntries(Object.entries(windows).filter(([w]) => w !== word));
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would want a legend
    <div className={styles.windows} role="group" aria-label={label} id={id}>
      {!told.length && <p>Link the prompts first; their words appear here.</p>}
      {told.map(({ word, gone }) => {
        const window = windows[word] ?? usual;
        return (
          <div key={word} data-changed={word in windows} data-gone={gone}>
            <span>
              {word}
              {gone && " (not in the prompt)"}
            </span>
            {ENDS.map((which, place) => (
              <input
                key={which}
                type="range"
                aria-label={`${word}, ${which}`}
                min={0}
                max={1}
                step={0.05}
                value={window[place]}
                disabled={disabled}
                onChange={(event) =>
                  onChange(
                    writeWindows({ ...windows, [word]: moved(window, which, Number(event.target.value)) }),
                  )
                }
                onDoubleClick={() => onChange(writeWindows(without(word)))}
              />
            ))}
            <output>{word in windows ? window.map((end) => end.toFixed(2)).join(" to ") : "no own"}</output>
          </div>
        );
      })}
    </div>
  );
}
