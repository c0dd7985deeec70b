import { expect, test } from "vitest";
import { align, around, freePlace, layered, overlaps } from "./arrange";
import { readWorkflow, writeWorkflow } from "./document";
import { CATALOGUE, chain } from "./fixtures";
import { checkLink, fits, passedThrough, specOf } from "./links";
import { search } from "./search";
import { shapeOf } from "./size";

test.each([
  ["IMAGE", "IMAGE", true],
  ["IMAGE|LATENT", "LATENT", true],
  ["FLOAT", "INT", true],
  ["INT", "FLOAT", false],
  ["STRING", "BOOLEAN", true],
  ["ANY", "MODEL", true],
  ["MODEL", "ANY", true],
  ["MODEL", "CLIP", false],
])("%s takes %s: %s", (wanted, given, expected) => {
  expect(fits(wanted, given)).toBe(expected);
});

const check = (from: [string, string], node: string, input: string) =>
  checkLink(chain(), CATALOGUE, "", from, { node, input });

test("every refusal says why", () => {
  expect(check(["sample", "latent"], "sample", "latent")).toMatchObject({
    ok: false,
    reason: "A node cannot feed itself.",
  });
  expect(check(["last", "image"], "blur", "image")).toMatchObject({
    ok: false,
    reason: expect.stringContaining("circle"),
  });
  expect(check(["load", "vae"], "last", "image")).toMatchObject({
    ok: false,
    reason: "image takes image, not vae.",
  });
});

test("a converter is offered where there is one", () => {
  const verdict = check(["sample", "latent"], "last", "image");
  expect(verdict).toMatchObject({ ok: false, converter: { input: "latent", output: "image" } });
});

test("a link to an input that is taken replaces", () => {
  expect(check(["decode", "image"], "last", "image")).toEqual({ ok: true, replaces: ["blur", "image"] });
});

test("a bypassed node hands on the input that the engine would", () => {
  const output = { name: "image", type: "IMAGE", list: false };
  expect(passedThrough(chain(), CATALOGUE, "", "blur", output)).toEqual({ node: "blur", input: "image" });
  expect(passedThrough(chain(), CATALOGUE, "", "decode", output)).toBeNull();
});

test("an unknown type keeps values, links and the outputs that are used", () => {
  const file = { nodes: { a: { type: "gone", inputs: { x: 3, y: ["b", "out"] } }, b: { type: "lost" } } };
  const workflow = readWorkflow(file)?.workflow;
  if (!workflow) throw new Error("it is a workflow");
  const spec = specOf(workflow, CATALOGUE, "", "b");
  expect(spec.unknown).toBe(true);
  expect(spec.outputs.map((o) => o.name)).toEqual(["out"]);
  expect(specOf(workflow, CATALOGUE, "", "a").inputs.map((i) => i.name)).toEqual(["x", "y"]);
  expect(writeWorkflow(workflow).nodes).toEqual({
    a: { type: "gone", inputs: { x: 3, y: ["b", "out"] } },
    b: { type: "lost", inputs: {} },
  });
});

test("reading and writing keeps what we do not know", () => {
  const file = { format: "sfumato/1", name: "N", requires: { files: [1] }, nodes: {}, layout: { nodes: {} } };
  const reading = readWorkflow(file);
  expect(reading && writeWorkflow(reading.workflow)).toEqual(file);
  expect(readWorkflow({ format: "sfumato/99", nodes: {} })).toBeNull();
  expect(readWorkflow("text")).toBeNull();
});

test("a search for a loose link lists only what fits, the same type first", () => {
  const hits = search(CATALOGUE.values(), "", { from: "output", type: "IMAGE", name: "image" });
  expect(hits.map((hit) => `${hit.spec.id}.${hit.socket}`)).toEqual([
    "blur.image",
    "vae_encode.image",
    "any.value",
  ]);
  expect(search(CATALOGUE.values(), "deco", null)[0]?.spec.id).toBe("vae_decode");
  expect(search(CATALOGUE.values(), "zzz", null)).toEqual([]);
  const [ours] = CATALOGUE.values();
  const twins = ours ? [{ ...ours, id: "theirs", category: "comfyui/loaders" }, ours] : [];
  expect(search(twins, "load", null).map((hit) => hit.spec.id)).toEqual(["load", "theirs"]);
});

test("a node's sockets lie on its edges, inside its height", () => {
  const rows = (input: { multiline: boolean; type: string }) =>
    input.multiline ? 4 : /INT|FLOAT|STRING/.test(input.type) ? 1 : 0;
  for (const spec of CATALOGUE.values()) {
    for (const place of [{}, { collapsed: true }, { width: 400, height: 500 }]) {
      const shape = shapeOf(spec, place, rows);
      expect(shape.sockets.length).toBe(spec.inputs.length + spec.outputs.length);
      for (const socket of shape.sockets) {
        expect([0, shape.width]).toContain(socket.x);
        expect(socket.y).toBeLessThan(shape.height);
      }
    }
  }
});

test("layers run from left to right and nothing overlaps", () => {
  const { nodes } = chain();
  const boxes = Object.fromEntries(
    Object.keys(nodes).map((id) => [id, { x: 0, y: 0, width: 200, height: 100 }]),
  );
  const at = layered(nodes, boxes, { x: 0, y: 0 });
  const x = (id: string) => at[id]?.x ?? Number.NaN;
  expect(x("load")).toBeLessThan(x("text"));
  expect(x("sample")).toBeLessThan(x("decode"));
  const placed = Object.entries(at).map(([, p]) => ({ ...p, width: 200, height: 100 }));
  for (const [n, a] of placed.entries())
    for (const b of placed.slice(n + 1)) expect(overlaps(a, b)).toBe(false);
});

test("aligning and free places", () => {
  const boxes = {
    a: { x: 5, y: 0, width: 10, height: 10 },
    b: { x: 50, y: 30, width: 20, height: 10 },
    c: { x: 90, y: 5, width: 10, height: 10 },
  };
  expect(align(boxes, "left").b).toEqual({ x: 5, y: 30 });
  expect(align(boxes, "bottom").a).toEqual({ x: 5, y: 30 });
  expect(align(boxes, "across").b?.x).toBe(43);
  expect(around([])).toBeNull();
  const free = freePlace(Object.values(boxes), { x: 0, y: 0 }, { width: 20, height: 20 });
  expect(Object.values(boxes).some((box) => overlaps(box, { ...free, width: 20, height: 20 }))).toBe(false);
});
