import { expect, test } from "vitest";
import { afterEvent, fromSummary } from "../../state/runs";
import { nodeSaid, progressOf, seconds } from "./said";

const job = fromSummary({
  id: "1",
  state: "running",
  priority: 0,
  paused: false,
  stopping: false,
  client: "d",
  key: null,
  attempt: 1,
  created: 0,
  started: 0,
  ended: null,
  outputs: {},
  problems: [],
});
let seq = 0;
const event = (kind: string, data: Record<string, unknown>) => ({
  seq: ++seq,
  job: "1",
  attempt: 1,
  at: 4,
  kind,
  data,
});

test("times are read easily", () => {
  expect([0.26, 1.3, 12.4, 61, 3599.6].map(seconds)).toEqual([
    "260 ms",
    "1.3 s",
    "12 s",
    "1 min 01 s",
    "60 min 00 s",
  ]);
});

test("progress counts finished nodes and the part of the present one", () => {
  const events = [
    event("run_started", { steps: 4 }),
    event("step_cached", { node: "a", type: "t" }),
    event("step_started", { node: "b", type: "t", why: "seed changed" }),
    event("step_progress", { node: "b", type: "t", done: 5, total: 10, rate: 2, left: 2.5 }),
  ];
  const run = events.reduce(afterEvent, job);
  expect(progressOf(run)).toEqual({ part: 0.375, text: "step 5 of 10, 2.0 / s, 2.5 s left" });
  const done = afterEvent(run, event("job_done", {}));
  expect(progressOf(done).text).toBe("Done, 1 reused");
  const reused = run.nodes.a;
  expect(reused && nodeSaid(reused)).toMatch(/^reused/);
});
