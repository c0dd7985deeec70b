/** What journeys share. They use what people see: roles and names, no classes, no waiting for a time. */

import { expect, type Locator, type Page } from "@playwright/test";
import { test as base } from "./server";

/** A test on a page that knows its server, and that fails when the page logs an error. */
export const test = base.extend<{ quiet: undefined }>({
  baseURL: async ({ server }, use) => use(server),
  quiet: [
    async ({ page }, use) => {
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(error.message));
      page.on("console", (message) => {
        // A refusal of the server (400, 409) is logged by the browser itself.
        if (message.type() === "error" && !/status of (400|404|409|503)/.test(message.text()))
          errors.push(message.text());
      });
      await use(undefined);
      expect(errors).toEqual([]);
    },
    { auto: true },
  ],
});

/** Open the editor with nothing remembered, at its first workflow. */
export async function openEditor(page: Page): Promise<void> {
  await page.goto("/");
  await expect(runButton(page)).toBeVisible();
}

export function runButton(page: Page): Locator {
  return page.getByRole("banner").getByRole("button", { name: /^Run( \(\d+\))?$/ });
}

/** Open a ready-made workflow from the gallery; it comes as a form. */
export async function openExample(page: Page, name: string): Promise<void> {
  await showPanel(page, "Gallery");
  await page
    .getByRole("region", { name: "Gallery" })
    .getByRole("button", { name: new RegExp(`^${name}`) })
    .click();
  await expect(page.getByRole("heading", { name, level: 1 })).toBeVisible();
}

/** Show a panel of the left rail. */
export async function showPanel(page: Page, title: string): Promise<void> {
  const button = page.getByRole("navigation", { name: "Panels" }).getByRole("button", { name: title });
  if ((await button.getAttribute("aria-pressed")) !== "true") await button.click();
  await expect(page.getByRole("region", { name: title, exact: true })).toBeVisible();
}

export async function showGraph(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Show graph" }).first().click();
}

/** Run and wait for the end that the bar tells. */
export async function runTo(page: Page, end: RegExp): Promise<void> {
  await runButton(page).click();
  await expect(page.getByRole("banner").getByText(end)).toBeVisible({ timeout: 80_000 });
}

/** Ask the server itself. */
export async function ask<T>(page: Page, path: string): Promise<T> {
  const answer = await page.request.get(path);
  expect(answer.ok(), path).toBe(true);
  return answer.json();
}
