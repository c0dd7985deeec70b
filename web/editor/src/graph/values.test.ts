import { expect, test } from "vitest";
import { CATALOGUE, chain } from "./fixtures";
import type { Json } from "./types";
import { valueAt } from "./values";

const at = (node: string, path: string) => valueAt(chain(), CATALOGUE, "", node, path);

test("what an input holds, or its default, also of the node that another input is linked to", () => {
  expect(at("text", "text")).toBe("a cat");
  expect(at("blur", "size")).toBe(1);
  expect(at("sample", "positive.text")).toBe("a cat");
  expect(at("decode", "latent.positive.text")).toBe("a cat");
  for (const path of ["positive", "latent.seed", "positive.clip", "nothing", "seed.text"])
    expect(at("sample", path)).toBeNull();
});

test("a link to an output that hands on a text gives the text", () => {
  const workflow = chain();
  const align = { type: "align_prompts", inputs: { target: "a red cat" } as Record<string, Json> };
  Object.assign(workflow.nodes, {
    align,
    again: { type: "text", inputs: { text: ["align", "target"] } },
    other: { type: "text", inputs: { text: ["blur", "image"] } },
  });
  const of = (node: string) => valueAt(workflow, CATALOGUE, "", node, "text");
  expect(of("again")).toBe("a red cat");
  expect(of("other")).toBeNull();
  align.inputs.target = ["again", "text"];
  expect(of("again")).toBeNull();
});
