import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobEvent, JobSummary } from "../server/messages";
import { afterEvent, afterStep, fromSummary } from "./runs";

const summary = (state: JobSummary["state"]): JobSummary => ({
  id: "1",
  state,
  priority: 0,
  paused: false,
  stopping: false,
  client: "d",
  key: null,
  attempt: 0,
  created: 0,
  started: null,
  ended: null,
  outputs: {},
  problems: [],
});
const EVENTS = (["job_queued", "job_started", "run_started", "step_done", "job_done"] as const).map(
  (kind, place): JobEvent => ({
    seq: place + 1,
    job: "1",
    attempt: 1,
    at: place,
    kind,
    data: { node: "a", type: "t", steps: 3, seconds: 1 },
  }),
);

test("lists that come late and events that come twice change nothing", () => {
  const truth = EVENTS.reduce(afterEvent, fromSummary(summary("queued")));
  const repeats = fc.array(fc.nat(EVENTS.length - 1), { minLength: 5, maxLength: 12 });
  fc.assert(
    fc.property(repeats, (disorder) => {
      let run = fromSummary(summary("queued"));
      EVENTS.forEach((event, place) => {
        run = afterEvent(run, event);
        for (const old of disorder) if (old <= place) run = afterEvent(run, EVENTS[old] ?? event);
        run = fromSummary(summary("running"), run);
      });
      expect(run).toEqual(truth);
      expect(run.state).toBe("done");
    }),
  );
});

test("figures become curves; a count that begins anew begins its own curve anew; long ones stay bounded", () => {
  const told = (done: number, figures: Record<string, number>) => ({ node: "a", done, total: 9999, figures });
  const run = (...frames: ReturnType<typeof told>[]) =>
    frames.reduce((r, data) => afterStep(r, "step_progress", data), fromSummary(summary("running"))).nodes.a
      ?.figures;
  expect(run(told(1, { loss: 3 }), told(2, { loss: 2, rate: 1 }), told(3, {}))).toEqual({
    loss: [
      [1, 3],
      [2, 2],
    ],
    rate: [[2, 1]],
  });
  expect(run(told(5, { loss: 3 }), told(1, { loss: 9 }))).toEqual({ loss: [[1, 9]] });
  const long = run(...Array.from({ length: 3000 }, (_, n) => told(n, { loss: n })))?.loss ?? [];
  expect(long.length).toBeLessThanOrEqual(1001);
  expect(long.at(-1)).toEqual([2999, 2999]);
});
