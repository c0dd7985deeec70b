/** What runs, what waits, in its order, and what ended last. */

import { ArrowDown, ArrowUp, Pause, Play, RotateCcw, X } from "lucide-react";
import { type DragEvent, type ReactNode, useEffect, useMemo, useState } from "react";
import { openJob } from "../../documents/open";
import { api } from "../../server/api";
import { useRuns } from "../../state/runStore";
import type { Run } from "../../state/runs";
import { useTabs } from "../../state/tabs";
import { useView } from "../../state/viewStore";
import { Button, IconButton } from "../../ui/Button";
import { progressOf, seconds } from "../run/said";
import { inOrder } from "./order";
import styles from "./queue.module.css";

const JOB_TYPE = "application/x-sfumato-job";
const ENDED_SHOWN = 30;

export function QueuePanel() {
  const runs = useRuns((state) => state.runs);
  const { paused } = useRuns((state) => state.queue);
  const refresh = useRuns((state) => state.refresh);
  const [order, setOrder] = useState<readonly string[]>([]);
  const { running, waiting, ended } = useMemo(() => inOrder(Object.values(runs), order), [runs, order]);
  const waits = waiting
    .map((run) => run.id)
    .sort()
    .join(" ");
  const moves = useRuns((state) => state.queue);
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked again when jobs came, went or were moved
  useEffect(() => {
    api
      .jobs({ list: "queue", limit: 200 })
      .then((page) => setOrder(page.jobs.map((job) => job.id)))
      .catch(() => setOrder([]));
  }, [waits, moves]);
  const act = (doing: Promise<unknown>) => {
    doing.then(refresh).catch((error: Error) => useView.getState().announce(error.message));
  };
  return (
    <div className={styles.panel}>
      <div className={styles.bar}>
        <Button aria-pressed={paused} onClick={() => act(paused ? api.resumeQueue() : api.pauseQueue())}>
          {paused ? <Play size={14} /> : <Pause size={14} />} {paused ? "Let it run" : "Hold the queue"}
        </Button>
        <Button
          look="danger"
          disabled={!running.length && !waiting.length}
          onClick={() => act(api.cancelAll())}
        >
          Cancel all
        </Button>
      </div>
      {paused && <p className={styles.note}>The queue is held: what runs goes on, nothing new starts.</p>}
      <List title="Running" runs={running}>
        {(run) => <Stop run={run} act={act} />}
      </List>
      <List title="Waiting" runs={waiting} drop={(run, before) => act(api.moveJob(run, { before }))}>
        {(run, place) => {
          const [above, below] = [waiting[place - 1], waiting[place + 1]];
          return (
            <>
              <IconButton
                label="Run earlier"
                disabled={!above}
                onClick={() => above && act(api.moveJob(run.id, { before: above.id }))}
              >
                <ArrowUp size={14} />
              </IconButton>
              <IconButton
                label="Run later"
                disabled={!below}
                onClick={() => below && act(api.moveJob(run.id, { after: below.id }))}
              >
                <ArrowDown size={14} />
              </IconButton>
              <IconButton
                label={run.paused ? "Let it run" : "Hold it"}
                onClick={() => act(run.paused ? api.resumeJob(run.id) : api.pauseJob(run.id))}
              >
                {run.paused ? <Play size={14} /> : <Pause size={14} />}
              </IconButton>
              <Stop run={run} act={act} />
            </>
          );
        }}
      </List>
      <List title="Ended" runs={ended.slice(0, ENDED_SHOWN)}>
        {(run) => (
          <>
            {run.state !== "done" && (
              <IconButton label="Run it again" onClick={() => act(api.retryJob(run.id))}>
                <RotateCcw size={14} />
              </IconButton>
            )}
            <Button look="plain" onClick={() => void openJob(run.id)}>
              Open
            </Button>
          </>
        )}
      </List>
    </div>
  );
}

function Stop({ run, act }: { run: Run; act: (doing: Promise<unknown>) => void }) {
  return (
    <IconButton label="Cancel it" disabled={run.stopping} onClick={() => act(api.cancelJob(run.id))}>
      <X size={14} />
    </IconButton>
  );
}

interface ListProps {
  readonly title: string;
  readonly runs: readonly Run[];
  readonly drop?: (run: string, before: string) => void;
  readonly children: (run: Run, place: number) => ReactNode;
}

function List({ title, runs, drop, children }: ListProps) {
  const onDrop = (event: DragEvent, before: Run) => {
    const moved = event.dataTransfer.getData(JOB_TYPE);
    if (!moved || moved === before.id) return;
    event.preventDefault();
    drop?.(moved, before.id);
  };
  return (
    <section aria-label={title}>
      <h3>
        {title} ({runs.length})
      </h3>
      <ol className={styles.list}>
        {runs.map((run, place) => (
          <li
            key={run.id}
            draggable={drop !== undefined}
            onDragStart={(event) => event.dataTransfer.setData(JOB_TYPE, run.id)}
            onDragOver={(event) => drop && event.preventDefault()}
            onDrop={(event) => onDrop(event, run)}
          >
            <Entry run={run} place={place} />
            <span className={styles.actions}>{children(run, place)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Entry({ run, place }: { run: Run; place: number }) {
  const open = useTabs((tabs) => tabs.open);
  const { part, text } = progressOf(run);
  const name = open.find((store) => store.getState().key === run.client)?.getState().workflow.name;
  const took = run.started && run.ended ? `, ${seconds(run.ended - run.started)}` : "";
  const problem = run.problems[0]?.message;
  return (
    <span className={styles.entry}>
      <strong>{name ?? `Job ${run.id.slice(0, 8)}`}</strong>
      <span data-state={run.state}>
        {run.state === "queued" ? `number ${place + 1}${run.paused ? ", held" : ""}` : text + took}
      </span>
      {run.state === "running" && <progress value={part} max={1} aria-label="Progress" />}
      {problem && <span data-state="failed">{problem}</span>}
    </span>
  );
}
