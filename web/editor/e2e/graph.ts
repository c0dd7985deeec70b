/** What a person does on the canvas, by names that they see. */

import { expect, type Locator, type Page } from "@playwright/test";

type Spot = { x: number; y: number };

export function nodeOf(page: Page, id: string): Locator {
  return page.locator(`.react-flow__node[data-id="${id}"]`);
}

export function titleOf(page: Page, id: string): Locator {
  return nodeOf(page, id).locator(".node-grip");
}

/** `out` is `o:name`, `in` is `i:name`. */
export async function socketAt(page: Page, id: string, handle: string): Promise<Spot> {
  const box = await nodeOf(page, id).locator(`[data-handleid="${handle}"]`).boundingBox();
  if (!box) throw new Error(`${id} shows no socket ${handle}`);
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

export async function drag(page: Page, from: Spot, to: Spot): Promise<void> {
  await page.mouse.move(from.x, from.y);
  await page.mouse.down();
  await page.mouse.move(from.x + 4, from.y); // a drag begins where the pointer is after its first few pixels
  await page.mouse.move((from.x + to.x) / 2, (from.y + to.y) / 2, { steps: 5 });
  await page.mouse.move(to.x, to.y, { steps: 5 });
  await page.mouse.up();
}

export async function link(page: Page, from: [string, string], to: [string, string]): Promise<void> {
  await drag(page, await socketAt(page, from[0], `o:${from[1]}`), await socketAt(page, to[0], `i:${to[1]}`));
}

/** Let a link go over an empty place and choose from what fits. */
export async function linkToNew(page: Page, from: [string, string], at: Spot, choice: string): Promise<void> {
  await drag(page, await socketAt(page, from[0], from[1]), at);
  await choose(page, choice);
}

/** Type into the open palette and take the first hit, which must be the one meant. */
export async function choose(page: Page, title: string): Promise<void> {
  const box = page.getByRole("combobox", { name: /^(Find a node|Nodes with)/ });
  await box.fill(title.split(" › ")[0] ?? title);
  await expect(options(page).first()).toContainText(title);
  await box.press("Enter");
  await expect(box).toBeHidden();
}

/** What the palette lists. */
export function options(page: Page): Locator {
  return page.getByRole("listbox", { name: /^(Find a node|Nodes with)/ }).getByRole("option");
}

export async function addNode(page: Page, title: string, at: Spot): Promise<void> {
  await page.mouse.dblclick(at.x, at.y);
  await choose(page, title);
}

/** Return the ids of the links that are drawn, `node.input`, sorted. */
export async function linksOf(page: Page): Promise<string[]> {
  const ids = await page
    .locator(".react-flow__edge")
    .evaluateAll((all) => all.map((one) => one.getAttribute("data-id") ?? ""));
  return ids.sort();
}

export async function nodesOf(page: Page): Promise<string[]> {
  const ids = await page
    .locator(".react-flow__node-node")
    .evaluateAll((all) => all.map((one) => one.getAttribute("data-id") ?? ""));
  return ids.sort();
}

/** A place of the canvas by fractions of its size. */
export async function spot(page: Page, across: number, down: number): Promise<Spot> {
  const box = await page.getByRole("application").boundingBox();
  if (!box) throw new Error("there is no canvas");
  return { x: box.x + box.width * across, y: box.y + box.height * down };
}

export async function newWorkflow(page: Page): Promise<void> {
  await page.getByRole("button", { name: "New workflow" }).click();
  await expect(page.getByText("Double-click to add a node")).toBeVisible();
}

export function said(page: Page): Locator {
  return page.getByRole("status").filter({ hasText: /./ }).first();
}

/** Wait until the view stands still: the docks have their room, an animation has ended. */
export async function settled(page: Page): Promise<void> {
  const node = page.locator(".react-flow__node").first();
  let before = "";
  await expect
    .poll(
      async () => {
        const box = JSON.stringify(await node.boundingBox());
        const isStill = box === before;
        before = box;
        return isStill;
      },
      { intervals: [400] },
    )
    .toBe(true);
}
