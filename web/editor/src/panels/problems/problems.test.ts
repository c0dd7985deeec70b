import { expect, test } from "vitest";
import { readWorkflow } from "../../graph/document";
import { fromSummary } from "../../state/runs";
import { listed } from "./problems";

const workflow = readWorkflow({
  nodes: { a: { type: "x" } },
  layout: { nodes: { a: { x: 0, y: 0, title: "Alpha" } } },
})?.workflow;
const run = {
  ...fromSummary({
    id: "1",
    state: "failed",
    priority: 0,
    paused: false,
    stopping: false,
    client: "",
    key: null,
    attempt: 1,
    created: 0,
    started: 0,
    ended: 1,
    outputs: {},
    problems: [{ code: "c", message: "Broken.", node: "a/inner" }],
  }),
};

test("each problem once, with the title that people know", () => {
  if (!workflow) throw new Error("no workflow");
  const found = listed(
    workflow,
    new Map(),
    [
      { code: "c", message: "Bad.", node: "a", field: "f" },
      { code: "c", message: "Bad.", node: "a", field: "f" },
    ],
    run,
  );
  expect(found.map((p) => [p.title, p.field, p.message])).toEqual([
    ["Alpha", "f", "Bad."],
    ["Alpha", undefined, "Broken."],
  ]);
});
