/** All results, by day, with the jobs that gave none. */

import { useEffect, useMemo, useState } from "react";
import { Button } from "../../ui/Button";
import { TextField } from "../../ui/Field";
import { ResultCard } from "./ResultCard";
import type { Result } from "./results";
import styles from "./results.module.css";
import { useAllResults, useResults } from "./resultsStore";

export function ResultsPanel() {
  const all = useAllResults();
  const { load, more, cursor, loaded } = useResults();
  const [filter, setFilter] = useState("");
  useEffect(() => void load(), [load]);
  const wanted = filter.trim().toLowerCase();
  const days = useMemo(() => {
    const found = wanted
      ? all.filter((r) => `${r.node} ${r.name} ${r.text}`.toLowerCase().includes(wanted))
      : all;
    return byDay(found);
  }, [all, wanted]);
  return (
    <div className={styles.panel}>
      <TextField
        type="search"
        aria-label="Filter results"
        placeholder="Filter by node or file"
        value={filter}
        onChange={(e) => setFilter(e.target.value)}
      />
      {loaded && !days.length && (
        <p className={styles.none}>{wanted ? `No result is called “${filter}”.` : "No results yet."}</p>
      )}
      {days.map(([day, results]) => (
        <section key={day} aria-label={day}>
          <h3>{day}</h3>
          <ul className={styles.grid}>
            {results.map((result) => (
              <li key={result.id}>
                <ResultCard result={result} large />
              </li>
            ))}
          </ul>
        </section>
      ))}
      {cursor !== null && <Button onClick={() => void more()}>Older ones</Button>}
    </div>
  );
}

function byDay(results: readonly Result[]): [string, Result[]][] {
  const days = new Map<string, Result[]>();
  for (const result of results) {
    const day = new Date(result.at * 1000).toLocaleDateString(undefined, {
      day: "numeric",
      month: "long",
      year: "numeric",
    });
    days.set(day, [...(days.get(day) ?? []), result]);
  }
  return [...days];
}
