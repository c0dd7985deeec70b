/** One result: press to look at it, drag it onto an image input, right button for what can be done with it. */

import { fileUrl } from "../../server/api";
import { useView } from "../../state/viewStore";
import { ContextMenu } from "../../ui/Menu";
import { RESULT_TYPE } from "../../widgets/image/dragged";
import { useActions } from "./actions";
import type { Result } from "./results";
import styles from "./results.module.css";
import { useResults } from "./resultsStore";

const NAMES: Readonly<Record<string, string>> = { plot: "Plot", attention: "Attention" };

export function ResultCard({ result, large = false }: { result: Result; large?: boolean }) {
  const view = useResults((results) => results.view);
  const viewed = useResults((results) => results.viewed);
  const { items } = useActions(result);
  const announce = useView((state) => state.announce);
  return (
    <ContextMenu items={items}>
      <button
        type="button"
        className={styles.card}
        data-large={large}
        aria-label={`Result of ${result.node}, ${new Date(result.at * 1000).toLocaleTimeString()}`}
        aria-current={viewed?.id === result.id}
        draggable={result.digest !== null}
        onDragStart={(event) => {
          event.dataTransfer.setData(
            RESULT_TYPE,
            JSON.stringify({ digest: result.digest, name: result.name }),
          );
          announce("Drop it on an image input.");
        }}
        onClick={() => view(result)}
      >
        {result.digest ? (
          <img src={fileUrl(result.digest)} alt="" loading="lazy" draggable={false} />
        ) : (
          <span className={styles.text}>{NAMES[result.kind] ?? result.text.slice(0, 200)}</span>
        )}
      </button>
    </ContextMenu>
  );
}
