/** How a run stands, in words. Pure. */

import type { NodeRun, Run } from "../../state/runs";

const STATES: Readonly<Record<Run["state"], string>> = {
  queued: "Waiting",
  running: "Running",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  parked: "Stopped after two crashes",
};

/** Write a time: `40 ms`, `1.3 s`, `12 s`, `3 min 05 s`. */
export function seconds(time: number): string {
  if (time < 1) return `${Math.round(time * 1000)} ms`;
  if (time < 10) return `${time.toFixed(1)} s`;
  if (time < 60) return `${Math.round(time)} s`;
  const whole = Math.round(time);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** Return how far a run is (0..1) and how it stands. */
export function progressOf(run: Run): { part: number; text: string } {
  const nodes = Object.entries(run.nodes);
  const ended = nodes.filter(([, node]) => node.state === "done" || node.state === "reused").length;
  const current = nodes.find(([, node]) => node.state === "running")?.[1];
  const inside = current?.total ? current.done / current.total : 0;
  const part = run.steps ? Math.min(1, (ended + inside) / run.steps) : 0;
  if (run.state === "running") {
    if (run.stopping) return { part, text: "Stopping …" };
    return { part, text: current ? stepSaid(current) : "Running" };
  }
  if (run.paused) return { part, text: "Held" };
  const reused = nodes.filter(([, node]) => node.state === "reused").length;
  const text = STATES[run.state] + (run.state === "done" && reused ? `, ${reused} reused` : "");
  return { part, text };
}

/** Say how a step stands: `step 4 of 20, 2.1 / s, 8 s left`. */
export function stepSaid({ done, total, rate, left, note }: NodeRun): string {
  const parts = [total ? `step ${done} of ${total}` : "running"];
  if (rate) parts.push(rate >= 1 ? `${rate.toFixed(1)} / s` : `${seconds(1 / rate)} each`);
  if (left && left > 1) parts.push(`${seconds(left)} left`);
  if (note) parts.push(note);
  return parts.join(", ");
}

/** Say how a node stands after a run. */
export function nodeSaid(node: NodeRun): string {
  switch (node.state) {
    case "running":
      return stepSaid(node);
    case "done":
      return `done in ${seconds(node.seconds)}`;
    case "reused":
      return "reused: nothing it depends on has changed";
    case "failed":
      return "failed";
    case "skipped":
      return node.note || "not run";
    default:
      return "waiting";
  }
}
