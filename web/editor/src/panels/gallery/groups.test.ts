import { expect, test } from "vitest";
import { grouped } from "./groups";

const example = (group: string, id: string, name: string, sentence = "") => ({
  group,
  id,
  name,
  sentence,
  help: "",
  pictures: [],
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
