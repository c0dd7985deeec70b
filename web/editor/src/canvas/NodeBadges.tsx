import { Check, CircleAlert, Clock, Loader, RotateCcw, SkipForward } from "lucide-react";
import type { NodeRun } from "../state/runs";
import css from "./canvas.module.css";

const ICONS = {
  waiting: Clock,
  running: Loader,
  done: Check,
  reused: RotateCcw,
  failed: CircleAlert,
  skipped: SkipForward,
};

/** How a node stands in the newest run: state, time, progress, and why it ran. */
export function NodeBadges({ run }: { run: NodeRun | undefined }) {
  if (!run) return null;
  const Icon = ICONS[run.state];
  const isRunning = run.state === "running";
  return (
    <>
      <span className={css.badge} data-state={run.state} title={told(run)}>
        {isRunning && run.total > 0 ? `${run.done}/${run.total}` : time(run)}
        <Icon size={13} aria-hidden="true" />
      </span>
      {isRunning && (
        <progress
          className={css.progress}
          aria-label="Progress"
          max={run.total || 1}
          {...(run.total ? { value: run.done } : {})}
        />
      )}
    </>
  );
}

function time(run: NodeRun): string {
  if (run.state === "reused") return "reused";
  if (run.state !== "done") return "";
  return run.seconds < 1 ? `${Math.round(run.seconds * 1000)} ms` : `${run.seconds.toFixed(1)} s`;
}

function told(run: NodeRun): string {
  if (run.state === "reused") return "Nothing it depends on has changed: the earlier result was used.";
  const rate = run.rate ? `${run.rate.toFixed(1)} per second` : "";
  const left = run.left ? `${Math.ceil(run.left)} s left` : "";
  return [run.why && `Why it ran: ${run.why}`, run.note, rate, left].filter(Boolean).join("\n") || run.state;
}
