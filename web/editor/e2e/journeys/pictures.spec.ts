/** Journeys 12 and 13 in part, results and comparing. */

import { expect, type Page } from "@playwright/test";
import { openEditor, openExample, runTo, test } from "../helpers";

/** Drag on an element from and to places given as parts of its size. */
async function drag(
  page: Page,
  on: ReturnType<Page["locator"]>,
  from: [number, number],
  to: [number, number],
): Promise<void> {
  await on.scrollIntoViewIfNeeded();
  const box = await on.boundingBox();
  if (!box) throw new Error("It is not visible.");
  await page.mouse.move(box.x + box.width * from[0], box.y + box.height * from[1]);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * to[0], box.y + box.height * to[1], { steps: 8 });
  await page.mouse.up();
}

test("a mask is painted, erased, inverted, saved as a file of its own and edited again", async ({ page }) => {
  await openEditor(page);
  await openExample(page, "Painted part");
  await page.getByRole("button", { name: "Paint Mask" }).click();
  const dialog = page.getByRole("dialog");
  const painted = async () => Number((await dialog.getByRole("status").textContent())?.match(/\d+/)?.[0]);
  await expect.poll(painted).toBeGreaterThan(5); // the mask that was there
  await dialog.getByRole("button", { name: "Clear" }).click();
  await expect.poll(painted).toBe(0);
  await dialog.getByLabel("Size").fill("40");
  await drag(page, dialog.getByRole("img"), [0.2, 0.5], [0.8, 0.5]);
  await expect.poll(painted).toBeGreaterThan(5);
  const stroke = await painted();
  await dialog.getByRole("button", { name: "Eraser" }).click();
  await drag(page, dialog.getByRole("img"), [0.5, 0.5], [0.9, 0.5]);
  await expect.poll(painted).toBeLessThan(stroke);
  const left = await painted();
  await dialog.getByRole("button", { name: "Undo" }).click();
  await expect.poll(painted).toBe(stroke);
  await dialog.getByRole("button", { name: "Redo" }).click();
  await dialog.getByRole("button", { name: "Invert" }).click();
  await expect.poll(painted).toBeGreaterThanOrEqual(99 - left);
  const inverted = await painted();
  await dialog.getByRole("button", { name: "Save mask" }).click();
  await expect(dialog).toBeHidden();
  await page.getByRole("button", { name: "Paint Mask" }).click();
  await expect.poll(painted).toBe(inverted);
  await page.keyboard.press("Escape");
  await runTo(page, /^Done/);
});

test("two results are compared: side by side, with a slider, by their difference, in turn", async ({
  page,
}) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  for (const prompt of ["one", "two"]) {
    await page.getByLabel("Prompt", { exact: true }).fill(`${prompt} ${Date.now()}`);
    await runTo(page, /^Done/);
    await expect(page.getByRole("button", { name: "Look at the result of save" })).toBeVisible();
  }
  await page.getByRole("button", { name: "Look at the result of save" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Compare" }).click();
  await expect(dialog.getByRole("slider")).toBeVisible();
  await dialog.getByRole("button", { name: /^Side by side/ }).focus();
  await page.keyboard.press("3");
  await expect(dialog.getByText(/of the pixels differ/)).toBeVisible();
  await page.keyboard.press("1");
  await expect(dialog.getByRole("figure")).toHaveCount(2);
  await page.keyboard.press("4");
  await expect(dialog.getByText("press for the other")).toBeVisible();
  await dialog.getByRole("button", { name: "Compare" }).click();
  await dialog.getByRole("button", { name: "Open its workflow" }).click();
  await expect(dialog).toBeHidden();
});

test("a result is sent to an image input", async ({ page }) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`sent ${Date.now()}`);
  await runTo(page, /^Done/);
  await openExample(page, "Painted part");
  await page
    .getByRole("region", { name: "Newest results" })
    .getByRole("button", { name: /^Result of save/ })
    .first()
    .click();
  await page.getByRole("dialog").getByRole("button", { name: "Send to …" }).click();
  await page.getByRole("menuitem", { name: "Send to Load image: file" }).click();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: /^Photo: fake_/ })).toBeVisible();
});

test("the special widgets set what the node gets; one that nobody knows is a number field", async ({
  page,
}) => {
  await openEditor(page);
  await openExample(page, "Widgets");
  const after = page.getByLabel("After", { exact: true });
  await after.fill("a wolf on a chair");
  await expect(page.getByRole("insertion").getByText("wolf")).toBeVisible();
  await after.press("Home");
  await after.press("ArrowRight");
  await after.press("ArrowRight");
  await after.press("ControlOrMeta+ArrowUp");
  await expect(after).toHaveValue("a (wolf:1.1) on a chair");
  await after.fill("a wolf on a chair");
  await page.getByRole("slider", { name: "wolf" }).fill("2");
  await page.getByRole("button", { name: /^Boxes/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Add a box" }).click();
  await dialog.getByLabel("Text of box 1").fill("a wolf");
  await dialog.getByRole("button", { name: /^Box 1, a wolf/ }).press("ArrowRight");
  await dialog.getByRole("button", { name: "Done" }).click();
  await page.getByRole("button", { name: /^Strokes/ }).click();
  await drag(page, dialog.getByRole("img"), [0.2, 0.2], [0.7, 0.6]);
  await expect(dialog.getByRole("img", { name: "1 strokes" })).toBeVisible();
  await dialog.getByRole("button", { name: "Done" }).click();
  await page.getByRole("button", { name: /^Point 2/ }).press("ArrowDown");
  await page.getByLabel("Threshold", { exact: true }).fill("0.7");
  await page.getByLabel("Odd", { exact: true }).fill("1/4*2");
  await page.getByLabel("Odd", { exact: true }).press("Enter");
  await runTo(page, /^Done/);
  const said = JSON.parse(
    (await page
      .getByRole("region", { name: "Results of this workflow" })
      .locator("pre")
      .filter({ hasText: "wolf" })
      .textContent()) ?? "",
  );
  expect(said).toMatchObject({
    target: "a wolf on a chair",
    weights: { wolf: 2 },
    threshold: 0.7,
    odd: 0.5,
    curve: [
      [0, 0],
      [1, 0.99],
    ],
  });
  expect(said.boxes).toEqual([{ x: 0.31, y: 0.3, width: 0.4, height: 0.4, text: "a wolf" }]);
  expect(said.strokes.strokes[0].points.length).toBeGreaterThan(2);
  await expect(page.getByRole("img", { name: /^loss over step/ })).toBeVisible();
});
