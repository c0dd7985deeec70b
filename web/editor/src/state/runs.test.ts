import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobEvent, JobSummary } from "../server/messages";
import { afterEvent, fromSummary } from "./runs";

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
