import { expect, test } from "vitest";
import { readWorkflow } from "../../graph/document";
import { plainInput } from "../../graph/links";
import type { Catalogue, NodeSpec } from "../../graph/types";
import { givesMask, pictureUnder } from "./under";

const spec = (id: string, output: string, file = false): NodeSpec => ({
  id,
  title: id,
  category: "",
  version: 1,
  doc: "",
  effect: false,
  output: false,
  pack: "",
  inputs: file ? [{ ...plainInput("file", "STRING"), file: "input" }] : [plainInput("image", "IMAGE")],
  outputs: [{ name: "out", type: output, list: false }],
});
const catalogue: Catalogue = new Map(
  [
    spec("load", "IMAGE", true),
    spec("mask", "MASK", true),
    spec("blur", "IMAGE"),
    spec("strokes", "IMAGE"),
  ].map((s) => [s.id, s]),
);
const workflow = readWorkflow({
  nodes: {
    other: { type: "load", inputs: { file: "other.png" } },
    photo: { type: "load", inputs: { file: "photo.png" } },
    blur: { type: "blur", inputs: { image: ["photo", "out"] } },
    strokes: { type: "strokes", inputs: { image: ["blur", "out"] } },
    mask: { type: "mask", inputs: { file: "mask.png" } },
  },
})?.workflow;

test("the nearest picture upstream, else another one of the graph, never a mask", () => {
  if (!workflow) throw new Error("no workflow");
  expect(pictureUnder(workflow, catalogue, "", "strokes")).toBe("photo.png");
  expect(pictureUnder(workflow, catalogue, "", "mask")).toBe("other.png");
  expect(givesMask(workflow, catalogue, "", "mask")).toBe(true);
  expect(givesMask(workflow, catalogue, "", "photo")).toBe(false);
});
