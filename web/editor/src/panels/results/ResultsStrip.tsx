/** The newest results under the canvas. */

import { ChevronDown, ChevronUp } from "lucide-react";
import { useEffect } from "react";
import { useRuns } from "../../state/runStore";
import { useView } from "../../state/viewStore";
import { Button } from "../../ui/Button";
import { ResultCard } from "./ResultCard";
import type { Result } from "./results";
import styles from "./results.module.css";
import { useAllResults, useResults } from "./resultsStore";

const SHOWN = 40;

export function ResultsStrip() {
  const isOpen = useView((view) => view.resultsOpen);
  const set = useView((view) => view.set);
  const connection = useRuns((runs) => runs.connection);
  const load = useResults((results) => results.load);
  const results = distinct(useAllResults());
  useEffect(() => {
    if (connection === "open") void load();
  }, [connection, load]);
  return (
    <section className={styles.strip} aria-label="Newest results">
      <Button look="plain" aria-expanded={isOpen} onClick={() => set({ resultsOpen: !isOpen })}>
        {isOpen ? <ChevronDown size={14} /> : <ChevronUp size={14} />} Results
      </Button>
      {isOpen &&
        (results.length ? (
          <ul className={styles.row}>
            {results.slice(0, SHOWN).map((result) => (
              <li key={result.id}>
                <ResultCard result={result} />
              </li>
            ))}
          </ul>
        ) : (
          <p className={styles.none}>Pictures that you make appear here. Press Run.</p>
        ))}
    </section>
  );
}

/** Pictures only, each once: a run that reused everything adds nothing to look at. */
function distinct(results: readonly Result[]): Result[] {
  const seen = new Set<string | null>([null]);
  return results.filter(({ digest }) => !seen.has(digest) && seen.add(digest));
}
