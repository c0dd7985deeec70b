/** What a ready-made workflow gave when its card was made: shown until there is a result of one's own. */

import { useState } from "react";
import { exampleUrl } from "../../server/api";
import styles from "./example.module.css";

/** `example` is `group/id`; `otherwise` stands where there is none. */
export function ExampleResult({ example, otherwise }: { example: string | null; otherwise: string }) {
  const [missing, setMissing] = useState(false);
  const [group = "", id = ""] = example?.split("/") ?? [];
  if (!example || missing) return <p className={styles.none}>{otherwise}</p>;
  return (
    <figure className={styles.example}>
      <img
        src={exampleUrl(group, id, "after")}
        alt="Example result"
        draggable={false}
        onError={() => setMissing(true)}
      />
      <figcaption>Example result. Press Run to make your own.</figcaption>
    </figure>
  );
}
