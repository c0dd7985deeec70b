import { expect, test } from "vitest";
import { shownBy } from "../../widgets/shown/shown";
import { merged, resultsOfJob } from "./results";

const job = (id: string, ended: number, digests: string[]) => ({
  id,
  state: "done" as const,
  priority: 0,
  paused: false,
  stopping: false,
  client: "d",
  key: null,
  attempt: 1,
  created: 0,
  started: 0,
  ended,
  problems: [],
  outputs: {
    save: {
      values: {},
      ui: [
        {
          ui: "images",
          text: "",
          files: digests.map((digest) => ({ digest, name: "a.png", media: "image/png" })),
        },
      ],
    },
    note: { values: {}, ui: [{ ui: "text", text: "hello", files: [] }] },
    odd: 3,
  },
});

test("pictures and texts of jobs, newest first, each once", () => {
  const results = merged(
    resultsOfJob(job("1", 5, ["a", "b"])),
    resultsOfJob(job("2", 9, ["a"])),
    resultsOfJob(job("1", 5, ["a"])),
  );
  expect(results.map((r) => [r.job, r.digest ?? r.text])).toEqual([
    ["2", "hello"],
    ["2", "a"],
    ["1", "hello"],
    ["1", "a"],
    ["1", "b"],
  ]);
});

test("the maps of an attention are one result, looked at together", () => {
  const maps = [
    { digest: "p", name: "", media: "image/png" },
    { digest: "m", name: "", media: "image/png" },
  ];
  const outputs = { look: { values: {}, ui: [{ ui: "attention", text: "{}", files: maps }] } };
  const [one, ...more] = resultsOfJob({ ...job("1", 5, []), outputs });
  expect([one?.digest, one?.files, more]).toEqual([null, maps, []]);
});

test("a comparison is one result for each pair, with its second picture for others to use", () => {
  const files = ["a", "b", "c", "d", "e"].map((digest) => ({ digest, name: digest, media: "image/png" }));
  const outputs = { look: { values: {}, ui: [{ ui: "compare", text: "", files }] } };
  const found = resultsOfJob({ ...job("1", 5, []), outputs });
  expect(found.map((r) => [r.digest, r.files.map((file) => file.digest)])).toEqual([
    ["b", ["a", "b"]],
    ["d", ["c", "d"]],
  ]);
});

test("what is not understood is left out", () => {
  expect(shownBy([{ ui: 3, files: "x" }, {}])).toEqual([
    { ui: "images", text: "", files: [] },
    { ui: "images", text: "", files: [] },
  ]);
});
