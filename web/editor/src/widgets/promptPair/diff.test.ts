import fc from "fast-check";
import { expect, test } from "vitest";
import { diff, words } from "./diff";

const prompt = fc
  .array(fc.constantFrom("a", "red", "cat", "dog", "on", ","), { maxLength: 12 })
  .map((w) => w.join(" "));
const side = (pieces: ReturnType<typeof diff>, left: "gone" | "new") =>
  pieces.filter((p) => p.kind !== left).map((p) => p.text);

test("a swapped word", () => {
  expect(diff("a cat on a chair", "a dog on a chair").filter((p) => p.kind !== "same")).toEqual([
    { kind: "gone", text: "cat" },
    { kind: "new", text: "dog" },
  ]);
});

test("both prompts can be read back from the pieces", () => {
  fc.assert(
    fc.property(prompt, prompt, (before, after) => {
      const pieces = diff(before, after);
      expect(side(pieces, "new")).toEqual(words(before));
      expect(side(pieces, "gone")).toEqual(words(after));
    }),
  );
});
