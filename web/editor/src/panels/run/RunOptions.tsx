/** Left of Run: how it stands, stop, and how often with which seeds. */

import { ChevronDown, Square } from "lucide-react";
import { api } from "../../server/api";
import { COUNT_MAX, type SeedMode, useRunSettings } from "../../state/runSettings";
import { useLatestRun } from "../../state/runStore";
import type { Run } from "../../state/runs";
import { useDocument } from "../../state/tabs";
import { Button, IconButton } from "../../ui/Button";
import { Popover } from "../../ui/Popover";
import styles from "./run.module.css";
import { progressOf, seconds } from "./said";

const SEEDS: readonly { mode: SeedMode; label: string }[] = [
  { mode: "keep", label: "stay as they are" },
  { mode: "next", label: "count on by one" },
  { mode: "random", label: "are drawn anew" },
];

export function RunOptions() {
  const key = useDocument((d) => d.key);
  const run = useLatestRun(key);
  const { count, seeds, set } = useRunSettings();
  const isOpen = run?.state === "queued" || run?.state === "running";
  return (
    <div className={styles.options}>
      {run && <Standing run={run} />}
      {isOpen && (
        <IconButton label="Stop this run" disabled={run.stopping} onClick={() => void api.cancelJob(run.id)}>
          <Square size={14} />
        </IconButton>
      )}
      <Popover
        trigger={
          <Button look="plain" aria-label="Run options">
            {count > 1 ? `${count} ×` : ""}
            {seeds === "keep" ? "" : " new seed"}
            <ChevronDown size={14} />
          </Button>
        }
      >
        <form className={styles.form} onSubmit={(event) => event.preventDefault()}>
          <label>
            Runs
            <input
              type="number"
              min={1}
              max={COUNT_MAX}
              value={count}
              onChange={(event) =>
                set({ count: Math.min(COUNT_MAX, Math.max(1, Math.round(event.target.valueAsNumber || 1))) })
              }
            />
          </label>
          <fieldset>
            <legend>Before each run, seeds</legend>
            {SEEDS.map(({ mode, label }) => (
              <label key={mode}>
                <input
                  type="radio"
                  name="seeds"
                  checked={seeds === mode}
                  onChange={() => set({ seeds: mode })}
                />
                {label}
              </label>
            ))}
          </fieldset>
          {count > 1 && seeds === "keep" && <p>In a batch the seed counts on from the one in the file.</p>}
        </form>
      </Popover>
    </div>
  );
}

function Standing({ run }: { run: Run }) {
  const { part, text } = progressOf(run);
  if (run.state === "running" || run.state === "queued") {
    return (
      <span className={styles.standing} data-job={run.id}>
        <progress value={part} max={1} aria-label="Progress of the run" />
        {text}
      </span>
    );
  }
  const took = run.started && run.ended ? ` in ${seconds(run.ended - run.started)}` : "";
  return <span className={styles.standing} data-job={run.id} data-state={run.state}>{`${text}${took}`}</span>;
}
