/** Files that are dropped: what is open stays, and both ways are offered. */

import { readFileSync } from "node:fs";
import { expect, type Page } from "@playwright/test";
import { carrying, openEditor, openExample, runTo, test } from "../helpers";

/** Make a picture with a workflow inside and return its bytes. */
async function picture(page: Page): Promise<Buffer> {
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`dropped ${Date.now()}`);
  await runTo(page, /^Done/);
  await page.getByRole("button", { name: "Look at the result of save" }).click();
  const download = page.waitForEvent("download");
  await page.getByRole("dialog").getByRole("link", { name: "Download" }).click();
  const data = readFileSync(await (await download).path());
  await page.keyboard.press("Escape");
  return data;
}

test("a picture dropped beside everything opens its workflow or becomes an image; on a field it goes there", async ({
  page,
}) => {
  await openEditor(page);
  const data = await picture(page);
  const tabs = page.getByRole("banner").getByRole("button", { name: /^Close / });
  const before = await tabs.count();

  await page
    .locator("body")
    .dispatchEvent("drop", { dataTransfer: await carrying(page, "made.png", "image/png", data) });
  await page.getByRole("dialog").getByRole("button", { name: "Open its workflow" }).click();
  await expect(tabs).toHaveCount(before + 1);
  await expect(page.getByRole("group", { name: /^Fake picture/ })).toBeVisible();

  await page
    .locator("body")
    .dispatchEvent("drop", { dataTransfer: await carrying(page, "made.png", "image/png", data) });
  await page.getByRole("dialog").getByRole("button", { name: "Use as image: new node" }).click();
  await expect(page.getByRole("group", { name: /^Load image/ })).toBeVisible();
  await expect(tabs).toHaveCount(before + 1);

  await openExample(page, "Painted part");
  const field = page.getByRole("button", { name: /^Photo: house_on_beach/ });
  await field.dispatchEvent("drop", { dataTransfer: await carrying(page, "made.png", "image/png", data) });
  await expect(page.getByRole("button", { name: /^Photo: made.*png/ })).toBeVisible();
  await expect(page.getByRole("dialog")).toBeHidden();
});

test("a file that holds no workflow says so", async ({ page }) => {
  await openEditor(page);
  const data = Buffer.from("[1]");
  await page
    .locator("body")
    .dispatchEvent("drop", { dataTransfer: await carrying(page, "x.json", "application/json", data) });
  await page.getByRole("dialog").getByRole("button", { name: "Open its workflow" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toContainText("A workflow in JSON is an object");
});
