/** Journeys 1, 10, 11 and a part of 15: running, failing, queueing, reconnecting. */

import { expect } from "@playwright/test";
import {
  ask,
  holdPicture,
  openEditor,
  openExample,
  runButton,
  runTo,
  showGraph,
  showPanel,
  standing,
  started,
  stored,
  test,
} from "../helpers";
import { openGate } from "../server";

interface Jobs {
  jobs: { id: string; state: string }[];
}

test("a run gives a picture; the next one reuses what has not changed", async ({ page }) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`a boat ${Date.now()}`);
  await runTo(page, /^Done in/);
  await expect(
    page.getByRole("region", { name: "Results of this workflow" }).getByRole("button").first(),
  ).toBeVisible();
  await runTo(page, /^Done, \d reused in/);
  await showGraph(page);
  await expect(page.getByRole("group", { name: /^Fake picture, reused/ })).toBeVisible();
});

test("a failure is told at its node and field, F8 goes there, and the fix runs only what changed", async ({
  page,
}) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`wrong ${Date.now()}`);
  await showGraph(page);
  const fault = page.getByRole("group", { name: /^Fake fault/ });
  await fault.getByLabel("kind").selectOption("value");
  await runTo(page, /^Failed/);
  await expect(page.getByRole("contentinfo").getByText("1 problem")).toBeVisible();
  await page.keyboard.press("F8");
  await expect(fault.getByLabel("kind")).toBeFocused();
  await page.getByRole("contentinfo").getByText("1 problem").click();
  await expect(page.getByRole("button", { name: /Fake fault · kind.*cannot be value today/ })).toBeVisible();
  await fault.getByLabel("kind").selectOption("none");
  await runTo(page, /^Done, 1 reused/);
});

test("what is wrong is told before it is run, at its node, and Run says why it does not", async ({
  page,
}) => {
  await openEditor(page);
  await openExample(page, "Painted part");
  await showGraph(page);
  await page.getByRole("group", { name: /^Load mask/ }).click({ position: { x: 60, y: 14 } });
  await expect(page.getByRole("region", { name: "Inspector" }).getByLabel("Title")).toHaveAttribute(
    "placeholder",
    "Load mask",
  );
  await page.keyboard.press("Delete");
  await expect(page.getByRole("contentinfo").getByText("1 problem")).toBeVisible();
  await runButton(page).click();
  await expect(page.getByRole("region", { name: "Problems" }).getByText("Fake paste · mask")).toBeVisible();
  await page.keyboard.press("ControlOrMeta+z");
  await expect(page.getByRole("contentinfo").getByText("1 problem")).toBeHidden();
});

test("five runs queue; one that waits and the one that runs are cancelled; the rest keep their seeds", async ({
  page,
}) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`queue ${Date.now()}`);
  await showGraph(page);
  await holdPicture(page);
  await page.getByRole("button", { name: "Run options" }).click();
  await page.getByLabel("Runs", { exact: true }).fill("5");
  await page.keyboard.press("Escape");
  await runButton(page).click();
  await showPanel(page, "Queue");
  await expect(page.getByRole("heading", { name: /^Waiting \(4\)/ })).toBeVisible();
  await page
    .getByRole("region", { name: "Waiting" })
    .getByRole("button", { name: "Run later" })
    .first()
    .click();
  await page
    .getByRole("region", { name: "Waiting" })
    .getByRole("button", { name: "Cancel it" })
    .last()
    .click();
  await expect(page.getByRole("heading", { name: /^Waiting \(3\)/ })).toBeVisible();
  await page.getByRole("region", { name: "Running" }).getByRole("button", { name: "Cancel it" }).click();
  await expect(page.getByRole("heading", { name: /^Waiting \(2\)/ })).toBeVisible();
  await page.getByRole("button", { name: "Hold the queue" }).click();
  await expect(page.getByText("nothing new starts")).toBeVisible();
  await page.getByRole("button", { name: "Let it run" }).first().click();
  await page.getByRole("button", { name: "Cancel all" }).click();
  await expect(page.getByRole("heading", { name: /^Waiting \(0\)/ })).toBeVisible();
  await expect.poll(async () => (await ask<Jobs>(page, "/api/jobs")).jobs.length).toBe(0);
  await page.getByRole("button", { name: "Run options" }).click();
  await page.getByLabel("Runs", { exact: true }).fill("1");
});

test("a page that is loaded again during a run shows its progress and gets its result", async ({ page }) => {
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`reload ${Date.now()}`);
  await showGraph(page);
  const gate = await holdPicture(page);
  await stored(page, gate);
  const job = await started(page, () => runButton(page).click());
  await expect(standing(page, job)).toHaveText(/^step \d/);
  await page.reload();
  await expect(standing(page, job)).toHaveText(/^step \d/);
  openGate(gate);
  await expect(standing(page, job)).toHaveText(/^Done/);
  await expect(
    page
      .getByRole("region", { name: "Newest results" })
      .getByRole("button", { name: /^Result of save/ })
      .first(),
  ).toBeVisible();
});

test("a socket that drops during a run loses nothing", async ({ page }) => {
  const sockets: { close: () => Promise<void> }[] = [];
  let letIn = () => {};
  const seen = new Promise<void>((done) => {
    letIn = done;
  });
  await page.routeWebSocket(/\/ws$/, async (socket) => {
    if (sockets.push(socket) > 1) await seen; // not before the page has said that it is cut off
    socket.connectToServer();
  });
  await openEditor(page);
  await openExample(page, "Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`drop ${Date.now()}`);
  await showGraph(page);
  const gate = await holdPicture(page);
  const job = await started(page, () => runButton(page).click());
  await expect(standing(page, job)).toHaveText(/^step \d/);
  await sockets[0]?.close();
  await expect(page.getByRole("contentinfo").getByText(/^(Not connected|Connecting)/)).toBeVisible();
  openGate(gate); // it ends while nobody listens
  await expect.poll(async () => (await ask<{ state: string }>(page, `/api/jobs/${job}`)).state).toBe("done");
  letIn();
  await expect(standing(page, job)).toHaveText(/^Done/);
  await expect(page.getByRole("contentinfo").getByText("Connected", { exact: true })).toBeVisible();
  expect(sockets.length).toBe(2);
  await expect(page.getByRole("group", { name: /^Save image, done/ })).toBeVisible();
});
