import { expect, test } from "vitest";
import { grouped, timeOf } from "./groups";

const example = (group: string, id: string, name: string, sentence = "") => ({
  group,
  id,
  name,
  sentence,
  help: "",
  pictures: [],
  needs: [],
  seconds: null,
  threads: null,
});
const ALL = [
  example("mine", "z", "Own thing"),
  example("editing", "diffedit", "DiffEdit", "A mask from two prompts."),
  example("basics", "seed_sweep", "Seeds"),
  example("basics", "text_to_image", "Text to image"),
];

test("the tutorial's order, then what packs bring", () => {
  expect(grouped(ALL, "").map((g) => [g.title, g.examples.map((e) => e.id)])).toEqual([
    ["Start", ["text_to_image", "seed_sweep"]],
    ["Edit a picture", ["diffedit"]],
    ["mine", ["z"]],
  ]);
});

test("every word of a search must match", () => {
  expect(grouped(ALL, "mask two").map((g) => g.title)).toEqual(["Edit a picture"]);
  expect(grouped(ALL, "mask cat")).toEqual([]);
});

test("a time is rounded as people say it, and absent where nothing was measured", () => {
  const took = (seconds: number | null) => timeOf({ ...example("a", "b", "c"), seconds, threads: 2 })?.text;
  expect([null, 0.4, 3.4, 89, 200].map(took)).toEqual([undefined, "under 1 s", "3 s", "89 s", "3 min"]);
});
