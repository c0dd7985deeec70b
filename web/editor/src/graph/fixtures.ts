/** A small catalogue and workflows for tests. */

import { emptyWorkflow } from "./document";
import { plainInput } from "./links";
import type { Catalogue, InputSpec, NodeSpec, Workflow } from "./types";

function spec(
  id: string,
  inputs: readonly InputSpec[],
  outputs: readonly (readonly [string, string])[],
): NodeSpec {
  const named = outputs.map(([name, type]) => ({ name, type, list: false }));
  const plain = { title: id, category: "test", version: 1, doc: "", effect: false, output: false, pack: "" };
  return { id, ...plain, inputs, outputs: named };
}

const input = (name: string, type: string, more: Partial<InputSpec> = {}): InputSpec => ({
  ...plainInput(name, type),
  ...more,
});

const specs = [
  spec(
    "load",
    [],
    [
      ["model", "MODEL"],
      ["clip", "CLIP"],
      ["vae", "VAE"],
    ],
  ),
  spec(
    "text",
    [input("clip", "CLIP", { required: true }), input("text", "STRING", { default: "", multiline: true })],
    [["cond", "CONDITIONING"]],
  ),
  spec(
    "sample",
    [
      input("model", "MODEL", { required: true }),
      input("positive", "CONDITIONING", { required: true }),
      input("latent", "LATENT"),
      input("seed", "INT", { default: 0, low: 0, high: 100, widget: "seed" }),
    ],
    [["latent", "LATENT"]],
  ),
  spec(
    "vae_decode",
    [input("latent", "LATENT", { required: true }), input("vae", "VAE", { required: true })],
    [["image", "IMAGE"]],
  ),
  spec(
    "vae_encode",
    [input("image", "IMAGE", { required: true }), input("vae", "VAE", { required: true })],
    [["latent", "LATENT"]],
  ),
  spec(
    "blur",
    [input("image", "IMAGE", { required: true }), input("size", "FLOAT", { default: 1 })],
    [["image", "IMAGE"]],
  ),
  spec("any", [input("value", "ANY")], [["value", "ANY"]]),
  spec("number", [], [["number", "INT"]]),
];

export const CATALOGUE: Catalogue = new Map(specs.map((one): [string, NodeSpec] => [one.id, one]));

/** Return a chain: load, text, sample, decode, blur. */
export function chain(): Workflow {
  const workflow = emptyWorkflow("Chain");
  workflow.nodes = {
    load: { type: "load", inputs: {} },
    text: { type: "text", inputs: { clip: ["load", "clip"], text: "a cat" } },
    sample: { type: "sample", inputs: { model: ["load", "model"], positive: ["text", "cond"], seed: 7 } },
    decode: { type: "vae_decode", inputs: { latent: ["sample", "latent"], vae: ["load", "vae"] } },
    blur: { type: "blur", inputs: { image: ["decode", "image"] } },
    last: { type: "blur", inputs: { image: ["blur", "image"] } },
  };
  Object.keys(workflow.nodes).forEach((id, place) => {
    workflow.layout.nodes[id] = { x: place * 300, y: 0 };
  });
  return workflow;
}
