/** The view itself: remembered for each graph, and quick and usable with thousands of links. */

import type { Page } from "@playwright/test";
import { drag, nodeOf, settled, titleOf } from "../graph";
import { openEditor, runButton, showPanel } from "../helpers";
import { expect, test } from "../server";

const COPIES = 90;
const LINKS = 4; // of each copy

test("coming back out of a subgraph, and to another tab, the view is where it was", async ({
  editor: page,
}) => {
  await titleOf(page, "sampler").click();
  await titleOf(page, "decode").click({ modifiers: ["Shift"] });
  await page.keyboard.press("Control+Shift+g");
  await titleOf(page, "group").hover();
  await page.mouse.wheel(0, -300);
  await settled(page);
  const before = await viewOf(page);
  await titleOf(page, "group").dblclick();
  await expect(nodeOf(page, "@out")).toBeVisible();
  await page.keyboard.press("Control+ArrowUp");
  await expect(nodeOf(page, "group")).toBeVisible();
  expect(await viewOf(page)).toBe(before);
  await page.getByRole("button", { name: "New workflow" }).click();
  await page.getByRole("banner").getByRole("button", { name: "Text to image", exact: true }).click();
  await expect(nodeOf(page, "group")).toBeVisible();
  expect(await viewOf(page)).toBe(before);
});

test("a large graph is seen whole; nodes can be moved there, and Alt brings its links back for cutting", async ({
  editor: page,
}) => {
  await showPanel(page, "Workflows");
  const buffer = Buffer.from(JSON.stringify(large()));
  await page
    .locator("input[type=file][accept*=json]")
    .setInputFiles({ name: "large.json", mimeType: "application/json", buffer });
  await expect(nodeOf(page, "mix89")).toBeVisible();
  await settled(page);
  await expect(page.locator(".react-flow__edge")).toHaveCount(0);
  await expect(page.locator(".react-flow__viewport-portal path").first()).toBeAttached();
  const box = await titleOf(page, "mix0").boundingBox();
  if (!box) throw new Error("the first node is out of sight");
  const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  await drag(page, at, { x: at.x + 40, y: at.y + 30 });
  await expect(page.getByRole("button", { name: /^Undo move/ })).toBeVisible();
  await page.keyboard.down("Alt");
  await expect(page.locator(".react-flow__edge")).toHaveCount(COPIES * LINKS);
  await page.keyboard.up("Alt");
  await expect(page.locator(".react-flow__edge")).toHaveCount(0);
});

test("a page that is older than the server says so, and is loaded again", async ({ page }) => {
  const sockets: { close: () => Promise<void> }[] = [];
  await page.routeWebSocket(/\/ws$/, (socket) => {
    socket.connectToServer();
    sockets.push(socket);
  });
  let asked = 0;
  page.on("response", (answer) => {
    if (answer.url().endsWith("/api/system")) asked += 1;
  });
  await openEditor(page);
  const notice = page.getByRole("alert").filter({ hasText: "newer editor" });
  await expect.poll(() => asked).toBe(2); // where the events begin, and which editor this is
  await expect(notice).toBeHidden();
  await page.route("**/api/system", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), build: "newer" } });
  });
  await sockets[0]?.close();
  await expect(notice).toBeVisible();
  await page.unroute("**/api/system");
  await notice.getByRole("button", { name: "Reload" }).click();
  await expect(runButton(page)).toBeVisible();
  await expect(notice).toBeHidden();
});

async function viewOf(page: Page): Promise<string | null> {
  return page.locator(".react-flow__viewport").getAttribute("style");
}

/** Return many sums, each of one number with itself. */
function large(): object {
  const nodes: Record<string, object> = {};
  const layout: Record<string, object> = {};
  for (let copy = 0; copy < COPIES; copy += 1) {
    const x = (copy % 10) * 1400;
    const y = Math.floor(copy / 10) * 700;
    const value = [`value${copy}`, "int"];
    nodes[`value${copy}`] = { type: "integer", inputs: { value: copy } };
    layout[`value${copy}`] = { x, y };
    nodes[`mix${copy}`] = { type: "math", inputs: { a: value, b: value, c: value, d: value } };
    layout[`mix${copy}`] = { x: x + 700, y };
  }
  return { format: "sfumato/1", name: "Large", nodes, layout: { nodes: layout } };
}
