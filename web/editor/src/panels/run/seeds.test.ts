import { describe, expect, test } from "vitest";
import { readWorkflow } from "../../graph/document";
import { plainInput } from "../../graph/links";
import type { Catalogue, NodeSpec } from "../../graph/types";
import { seedsFor, seedsOf } from "./seeds";

const seed = { ...plainInput("seed", "INT"), widget: "seed", low: 0, high: 10, default: 3 };
const spec: NodeSpec = {
  id: "sample",
  title: "Sample",
  category: "",
  version: 1,
  doc: "",
  inputs: [seed],
  outputs: [],
  effect: false,
  output: false,
  pack: "",
};
const catalogue: Catalogue = new Map([["sample", spec]]);
const workflow = readWorkflow({
  nodes: {
    a: { type: "sample", inputs: { seed: 9 } },
    b: { type: "sample" },
    c: { type: "sample", inputs: { seed: ["x", "int"] } },
  },
})?.workflow;

describe("seeds", () => {
  const fields = workflow ? seedsOf(workflow, catalogue) : [];

  test("are found where they are values, with their defaults", () => {
    expect(fields.map((f) => [f.node, f.value])).toEqual([
      ["a", 9],
      ["b", 3],
    ]);
  });

  test("are kept for one run and count on in a batch, inside their bounds", () => {
    expect(seedsFor(fields, "keep", 0)).toEqual({ "a.seed": 9, "b.seed": 3 });
    expect(seedsFor(fields, "keep", 2)).toEqual({ "a.seed": 0, "b.seed": 5 });
    expect(seedsFor(fields, "next", 0)).toEqual({ "a.seed": 10, "b.seed": 4 });
  });

  test("are drawn anew together", () => {
    const drawn = seedsFor(fields, "random", 0, () => 0.5);
    expect(drawn["a.seed"]).toBe(drawn["b.seed"]);
    expect(drawn["a.seed"]).toBeLessThanOrEqual(10);
  });
});
