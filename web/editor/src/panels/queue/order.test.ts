import { expect, test } from "vitest";
import { fromSummary, type Run } from "../../state/runs";
import { inOrder } from "./order";

const run = (id: string, state: Run["state"], created: number, ended: number | null = null): Run =>
  fromSummary({
    id,
    state,
    created,
    ended,
    priority: 0,
    paused: false,
    stopping: false,
    client: "",
    key: null,
    attempt: 0,
    started: null,
    outputs: {},
    problems: [],
  });

test("the server's order of waiting jobs wins over their age; ended ones come newest first", () => {
  const runs = [
    run("a", "queued", 1),
    run("b", "queued", 2),
    run("c", "running", 0),
    run("d", "done", 0, 5),
    run("e", "failed", 0, 9),
  ];
  expect(inOrder(runs, ["b", "a"]).waiting.map((r) => r.id)).toEqual(["b", "a"]);
  expect(inOrder(runs).waiting.map((r) => r.id)).toEqual(["a", "b"]);
  expect(inOrder(runs).ended.map((r) => r.id)).toEqual(["e", "d"]);
});
