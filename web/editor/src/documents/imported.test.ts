import { expect, test } from "vitest";
import { counted, said } from "./imported";

const report = {
  source: "comfyui-ui",
  counts: { imported: 11, changed: 1, unknown: 2 },
  remarks: ["A note was left out."],
  nodes: {
    k: { type: "KSampler", state: "changed", remarks: ["The seed was cut."] },
    v: { type: "VAEDecode", state: "imported", remarks: [] },
  },
};

test("a report as people read it", () => {
  expect(said(report)).toEqual([
    { node: null, text: "A note was left out." },
    { node: "k", text: "The seed was cut." },
  ]);
  expect(counted(report)).toBe("12 nodes came over, 1 of them changed; 2 are unknown here.");
  expect(counted({ ...report, counts: { imported: 1 } })).toBe("1 node came over.");
});
