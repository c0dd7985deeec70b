/** Journeys 4, 5 and 8: nothing that was written is lost or overwritten. */

import { expect } from "@playwright/test";
import { ask, openEditor, openExample, runTo, type Saved, showPanel, stored, test } from "../helpers";

test("what was typed is there after the page was closed, and earlier versions can be had back", async ({
  page,
  context,
}) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill("a ship at night");
  await stored(page, "a ship at night");
  await page.getByLabel("Prompt", { exact: true }).fill("a ship at dawn");
  await stored(page, "a ship at dawn");
  await page.close();

  const again = await context.newPage();
  await openEditor(again);
  await expect(
    again.getByRole("banner").getByRole("button", { name: "Fake picture", exact: true }),
  ).toHaveAttribute("aria-current", "true");
  await again.getByRole("button", { name: "Form", exact: true }).click();
  await expect(again.getByLabel("Prompt", { exact: true })).toHaveValue("a ship at dawn");
  await showPanel(again, "Workflows");
  await again
    .getByRole("region", { name: "Earlier versions" })
    .getByRole("button", { name: "Restore" })
    .last()
    .click();
  await expect(again.getByLabel("Prompt", { exact: true })).toHaveValue("a ship at night");
  await again
    .getByRole("banner")
    .getByRole("button", { name: /^Undo restore/ })
    .click();
  await expect(again.getByLabel("Prompt", { exact: true })).toHaveValue("a ship at dawn");
});

test("a second browser tab only looks until it takes over; a stale write is refused", async ({
  page,
  context,
}) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill("my boat");
  await stored(page, "my boat");

  const second = await context.newPage();
  await openEditor(second);
  await expect(second.getByText("open in another browser tab")).toBeVisible();
  await second.getByRole("button", { name: "Form", exact: true }).click();
  await expect(second.getByLabel("Prompt", { exact: true })).toBeDisabled();
  await second.getByRole("button", { name: "Take over" }).click();
  await expect(second.getByLabel("Prompt", { exact: true })).toBeEnabled();
  await expect(page.getByLabel("Prompt", { exact: true })).toBeDisabled();
  await second.getByLabel("Prompt", { exact: true }).fill("our boat");
  const document = await stored(second, "our boat");
  const stale = await page.request.put(`/api/workflows/${document.id}`, {
    data: { name: "lost" },
    headers: { "If-Match": '"1"' },
  });
  expect(stale.status()).toBe(409);
});

test("somebody else's newer version is kept, and mine too", async ({ page }) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill("first boat");
  const mine = await stored(page, "first boat");
  const theirs = await page.request.put(`/api/workflows/${mine.id}`, {
    data: { name: "Theirs" },
    headers: { "If-Match": `"${mine.revision}"` },
  });
  expect(theirs.ok()).toBe(true);
  await page.getByLabel("Prompt", { exact: true }).fill("second boat");
  await page.getByRole("button", { name: "Keep mine as a copy" }).click();
  await expect(page.getByRole("button", { name: "Fake picture (copy)", exact: true })).toBeVisible();
  await stored(page, "second boat");
  const names = (await ask<Saved[]>(page, "/api/workflows?limit=2")).map((saved) => saved.name);
  expect(names.sort()).toEqual(["Fake picture (copy)", "Theirs"]);
});

test("a dropped picture opens its workflow in a tab of its own, or says why not", async ({ page }) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill("in a file");
  await runTo(page, /^Done/);
  await page.getByRole("region", { name: "Results of this workflow" }).getByRole("button").first().click();
  const download = page.waitForEvent("download");
  await page.getByRole("dialog").getByRole("link", { name: "Download" }).click();
  const file = await (await download).path();
  await page.keyboard.press("Escape");
  await showPanel(page, "Workflows");
  const tabs = page.getByRole("banner").getByRole("button", { name: /^Close Fake picture/ });
  const before = await tabs.count();
  await page.locator("input[type=file][accept*=json]").setInputFiles(file);
  await expect(tabs).toHaveCount(before + 1);

  await page
    .locator("input[type=file][accept*=json]")
    .setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from("no") });
  await expect(page.getByRole("alert").getByText("neither a picture")).toBeVisible();
  await expect(tabs).toHaveCount(before + 1);
});
