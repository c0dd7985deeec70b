import fc from "fast-check";
import { expect, test } from "vitest";
import { readWorkflow } from "../graph/document";
import { formRows, moved, toggled } from "./formFields";

const FORM = ["a", "b", "c"].map((input) => ({ node: "n", input }));

test("moving a field loses none", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1, max: 3 }), fc.integer({ min: -1, max: 3 }), (from, to) => {
      expect(
        moved(FORM, from, to)
          .map((f) => f.input)
          .sort(),
      ).toEqual(["a", "b", "c"]);
    }),
  );
  expect(moved(FORM, 0, 2).map((f) => f.input)).toEqual(["b", "c", "a"]);
});

test("choosing a field twice changes nothing", () => {
  expect(toggled(toggled(FORM, "n", "d"), "n", "d")).toEqual(FORM);
});

test("a field without its node stays on the form", () => {
  const workflow = readWorkflow({ nodes: {}, form: [{ node: "gone", input: "x_y" }] })?.workflow;
  if (!workflow) throw new Error("no workflow");
  expect(formRows(workflow, new Map())).toEqual([
    { field: { node: "gone", input: "x_y" }, label: "x y", found: null },
  ]);
});
