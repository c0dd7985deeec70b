/** What journeys share. They use what people see: roles and names, no classes, no waiting for a time. */

import { expect, type JSHandle, type Locator, type Page } from "@playwright/test";
import { test as base } from "./server";

/** A test on a page that knows its server, and that fails when the page logs an error. */
export const test = base.extend<{ quiet: undefined }>({
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

/** Press something that runs, and return the new job's id. */
export async function started(page: Page, press: () => Promise<void>): Promise<string> {
  const answer = page.waitForResponse(
    (one) => new URL(one.url()).pathname === "/api/jobs" && one.request().method() === "POST",
  );
  await press();
  return (await (await answer).json()).id;
}

/** Run and wait for the end of this run, not of one before, that the bar tells. Returns the job's id. */
export async function runTo(page: Page, end: RegExp): Promise<string> {
  const job = await started(page, () => runButton(page).click());
  await ended(page, job);
  await expect(standing(page, job)).toHaveText(end);
  return job;
}

/** Wait until the bar knows how a job ended. */
export async function ended(page: Page, job: string): Promise<void> {
  await expect(standing(page, job)).toHaveAttribute("data-state", /./, { timeout: 80_000 });
}

/** What the bar says of a job, while it is the newest of the workflow that is shown. */
export function standing(page: Page, job: string): Locator {
  return page.getByRole("banner").locator(`[data-job="${job}"]`);
}

/** Return what happened in a job, as `kind node`: nothing passes too fast to be seen in the record. */
export async function eventsOf(page: Page, job: string): Promise<string[]> {
  const { events } = await ask<Events>(page, `/api/jobs/${job}/events`);
  return events.map(({ kind, data }) => (data.node ? `${kind} ${data.node}` : kind));
}

interface Events {
  events: { kind: string; data: { node?: string } }[];
}

/** Wait until the newest saved workflow holds a text, and return what it is saved as. */
export async function stored(page: Page, text: string): Promise<Saved> {
  let newest: Saved | undefined;
  await expect
    .poll(async () => {
      [newest] = await ask<Saved[]>(page, "/api/workflows?limit=1");
      return newest ? JSON.stringify(await ask(page, `/api/workflows/${newest.id}`)) : "";
    })
    .toContain(text);
  await expect(page.getByRole("contentinfo").getByText(/^Saved \d/)).toBeVisible(); // the page knows it too
  if (!newest) throw new Error("nothing is saved");
  return newest;
}

export interface Saved {
  id: string;
  name: string;
  revision: number;
}

/** Let “Fake picture” go on running until `openGate`; returns the gate's name. */
export async function holdPicture(page: Page): Promise<string> {
  const gate = `gate${Date.now()}`;
  const field = page.getByRole("group", { name: /^Fake picture/ }).getByLabel("until");
  await field.fill(gate);
  await field.press("Enter");
  return gate;
}

/** Ask the server itself. */
export async function ask<T>(page: Page, path: string): Promise<T> {
  const answer = await page.request.get(path);
  expect(answer.ok(), path).toBe(true);
  return answer.json();
}

/** What a drag from outside the browser carries. */
export async function carrying(
  page: Page,
  name: string,
  type: string,
  data: Buffer,
): Promise<JSHandle<DataTransfer>> {
  return page.evaluateHandle(
    ({ name, type, data }) => {
      const carried = new DataTransfer();
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      carried.items.add(new File([bytes], name, { type }));
      return carried;
    },
    { name, type, data: data.toString("base64") },
  );
}
