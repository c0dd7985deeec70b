import { expect, test } from "vitest";
import { weigh } from "./weighting";

const at = (text: string, from: number, to = from) => ({ text, from, to });

test("the word at the cursor gets a weight, and loses it on the way back", () => {
  const up = weigh(at("a red car", 3), 0.1);
  expect(up.text).toBe("a (red:1.1) car");
  expect(up.text.slice(up.from, up.to)).toBe("(red:1.1)");
  expect(weigh(up, 0.1).text).toBe("a (red:1.2) car");
  expect(weigh(up, -0.1).text).toBe("a red car");
});

test("a selection is weighed as a whole, without its spaces", () => {
  expect(weigh(at("a red car", 1, 6), -0.1).text).toBe("a (red:0.9) car");
  expect(weigh(at("a red car", 2, 9), 0.1).text).toBe("a (red car:1.1)");
});

test("a cursor inside brackets changes their weight", () => {
  expect(weigh(at("a (red car:1.3), b", 5), 0.1).text).toBe("a (red car:1.4), b");
});

test("nothing to weigh changes nothing", () => {
  expect(weigh(at("  ", 1), 0.1).text).toBe("  ");
  expect(weigh(at("", 0), 0.1).text).toBe("");
});
