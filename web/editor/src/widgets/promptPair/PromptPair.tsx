/** The second of two prompts, with what changed against the first (`{"before": input name}`). */

import { PromptWidget, textOf } from "../text/PromptWidget";
import type { WidgetProps } from "../types";
import { option, useSibling } from "../useSibling";
import { diff } from "./diff";
import styles from "./promptPair.module.css";

export function PromptPair(props: WidgetProps) {
  const before = textOf(useSibling(props.at, option(props, "before", "source")));
  const pieces = diff(before, textOf(props.value));
  const changed = pieces.some((piece) => piece.kind !== "same");
  return (
    <div className={styles.pair}>
      <PromptWidget {...props} />
      <p className={styles.diff}>
        {changed
          ? pieces.map((piece, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: words are told apart by their order
              <span key={place} data-kind={piece.kind}>
                {piece.kind === "gone" ? (
                  <del>{piece.text}</del>
                ) : piece.kind === "new" ? (
                  <ins>{piece.text}</ins>
                ) : (
                  piece.text
                )}{" "}
              </span>
            ))
          : "The same as the first prompt."}
      </p>
    </div>
  );
}
