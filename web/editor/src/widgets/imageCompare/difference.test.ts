import { expect, test } from "vitest";
import { difference } from "./difference";

test("equal pictures differ nowhere; one changed pixel is found", () => {
  const a = new Uint8ClampedArray([10, 20, 30, 255, 0, 0, 0, 255]);
  expect(difference(a, a)).toMatchObject({ largest: 0, changed: 0 });
  const b = a.slice();
  b[1] = 25;
  const found = difference(a, b, 2);
  expect(found).toMatchObject({ largest: 5, changed: 0.5 });
  expect([...found.rgba.slice(0, 4)]).toEqual([0, 10, 0, 255]);
});
