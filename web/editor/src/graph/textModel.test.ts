import { expect, test } from "vitest";
import { readWorkflow } from "./document";
import { plainInput } from "./links";
import { textModelOf } from "./textModel";
import type { Catalogue, InputSpec, NodeSpec } from "./types";

const spec = (id: string, ...inputs: InputSpec[]): NodeSpec => ({
  id,
  title: id,
  category: "",
  version: 1,
  doc: "",
  effect: false,
  output: false,
  pack: "",
  inputs,
  outputs: [{ name: "clip", type: "CLIP", list: false }],
});
const clip = plainInput("clip", "CLIP");
const catalogue: Catalogue = new Map(
  [
    spec("embedded", { ...plainInput("name", "STRING"), file: "embedded", default: "small" }),
    spec("lora", clip, { ...plainInput("file", "STRING"), file: "loras" }),
    spec("encode", clip, plainInput("text", "STRING")),
  ].map((s) => [s.id, s]),
);
const workflow = readWorkflow({
  nodes: {
    loader: { type: "embedded", inputs: {} },
    lora: { type: "lora", inputs: { clip: ["loader", "clip"], file: "winter" } },
    prompt: { type: "encode", inputs: { clip: ["lora", "clip"] } },
    loose: { type: "encode", inputs: {} },
    round: { type: "encode", inputs: { clip: ["round", "clip"] } },
  },
})?.workflow;

test("the weights at the end of the chain of text encoders", () => {
  if (!workflow) throw new Error("no workflow");
  const of = (node: string) => textModelOf(workflow, catalogue, "", node);
  expect(of("prompt")).toEqual({ kind: "embedded", name: "small" });
  expect(of("loose")).toBeNull();
  expect(of("round")).toBeNull();
});
