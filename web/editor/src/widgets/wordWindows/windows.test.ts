import { expect, test } from "vitest";
import { moved, readWindows, writeWindows } from "./windows";

test("windows come back in the form they had", () => {
  const told = { bus: 0.2, beach: [0.1, 0.4] };
  expect(readWindows(told)).toEqual({ bus: [0, 0.2], beach: [0.1, 0.4] });
  expect(writeWindows(readWindows(told))).toEqual(told);
  expect(writeWindows({})).toBeNull();
  for (const wrong of [null, [1], "bus", { bus: "0.2" }]) expect(readWindows(wrong)).toEqual({});
});

test("an end that is moved over the other takes it along", () => {
  expect(moved([0.2, 0.4], "end", 0.6)).toEqual([0.2, 0.6]);
  expect(moved([0.2, 0.4], "end", 0.1)).toEqual([0.1, 0.1]);
  expect(moved([0.2, 0.4], "start", 0.5)).toEqual([0.5, 0.5]);
});
