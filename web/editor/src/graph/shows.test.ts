import { expect, test } from "vitest";
import { readWorkflow } from "./document";
import { plainInput } from "./links";
import { firstShowing } from "./shows";
import type { Catalogue, NodeSpec } from "./types";

const spec = (id: string, input: string, output: boolean): NodeSpec => ({
  id,
  title: id,
  category: "",
  version: 1,
  doc: "",
  effect: output,
  output,
  pack: "",
  inputs: [plainInput("given", input)],
  outputs: [],
});
const catalogue: Catalogue = new Map(
  [spec("blur", "IMAGE", false), spec("say", "STRING", true), spec("save", "IMAGE|MASK", true)].map((s) => [
    s.id,
    s,
  ]),
);
const reading = (nodes: object) => readWorkflow({ nodes })?.workflow;

test("the first node that shows a picture it is given", () => {
  const workflow = reading({
    blur: { type: "blur", inputs: { given: ["a", "b"] } },
    say: { type: "say", inputs: { given: ["a", "b"] } },
    loose: { type: "save", inputs: {} },
    save: { type: "save", inputs: { given: ["a", "b"] } },
    later: { type: "save", inputs: { given: ["a", "b"] } },
  });
  expect(workflow && firstShowing(workflow, catalogue)).toBe("save");
  const silent = reading({ odd: { type: "unknown", inputs: {} } });
  expect(silent && firstShowing(silent, catalogue)).toBeNull();
});
