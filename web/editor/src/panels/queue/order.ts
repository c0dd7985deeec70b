/** Runs by what becomes of them. Pure. */

import type { Run } from "../../state/runs";

export interface Queue {
  readonly running: Run[];
  /** In the order in which they will run, as far as known: the server's order wins over the time of queueing. */
  readonly waiting: Run[];
  /** The last ended first. */
  readonly ended: Run[];
}

/** Sort runs for the queue's list. `order` ranks waiting jobs as the server last told. */
export function inOrder(runs: readonly Run[], order: readonly string[] = []): Queue {
  const rank = new Map(order.map((id, place) => [id, place]));
  const place = (run: Run) => rank.get(run.id) ?? order.length;
  const waiting = runs.filter((run) => run.state === "queued" || run.state === "parked");
  return {
    running: runs.filter((run) => run.state === "running"),
    waiting: waiting.sort((a, b) => place(a) - place(b) || a.created - b.created),
    ended: runs
      .filter(
        (run) =>
          run.ended !== null && run.state !== "queued" && run.state !== "running" && run.state !== "parked",
      )
      .sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0)),
  };
}
