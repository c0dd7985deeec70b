/** Measures the editor: `node e2e/bench/sfumato.js` with its orders as JSON on standard input, figures on standard output. */

import { expect } from "@playwright/test";
import { countBytes, heapMb, panFps } from "./frames.js";

const OPENED_MS = 60_000;
const PANELS = ["Gallery", "Workflows", "Results", "Queue"];

/** @typedef {import("@playwright/test").Page} Page */

/**
 * Measure the editor on graphs of several sizes.
 * @param {Page} page
 * @param {{ url: string, graphs: Record<string, object>, toggles: number }} orders
 */
export async function measure(page, { url, graphs, toggles }) {
  const bytes = countBytes(page);
  const began = performance.now();
  await page.goto(url);
  await expect(page.locator(".react-flow__node").first()).toBeVisible({ timeout: OPENED_MS });
  /** @type {Record<string, number>} */
  const figures = { page_ms: performance.now() - began };
  const { kb, files } = await bytes();
  Object.assign(figures, { gzip_kb: kb, files });
  for (const [size, graph] of Object.entries(graphs)) {
    figures[`open_ms_${size}`] = await open(page, graph);
    figures[`pan_all_fps_${size}`] = await panFps(page, await emptyPlace(page));
    await zoomIn(page);
    figures[`pan_fps_${size}`] = await panFps(page, await emptyPlace(page));
    await page.getByRole("button", { name: /^Close Bench/ }).click();
  }
  return { ...figures, ...(await heap(page, toggles)) };
}

/**
 * Give the page a file and wait until its graph is drawn; milliseconds.
 * @param {Page} page
 * @param {object} graph
 */
export async function open(page, graph) {
  await panel(page, "Workflows", true);
  const input = page.locator("input[type=file][accept*=json]");
  await input.evaluate((element, name) => {
    const frame = () => new Promise(requestAnimationFrame);
    const drawn = () =>
      document.querySelector(`[aria-label="Close ${name}"]`) && document.querySelector(".react-flow__node");
    const wait = async () => {
      const from = performance.now();
      while (!drawn()) await frame();
      await frame();
      await frame();
      return performance.now() - from;
    };
    element.addEventListener("change", () => Object.assign(window, { benchOpened: wait() }), {
      capture: true,
      once: true,
    });
  }, graph.name);
  const buffer = Buffer.from(JSON.stringify(graph));
  await input.setInputFiles({ name: "graph.json", mimeType: "application/json", buffer });
  await page.waitForFunction(() => "benchOpened" in window);
  const took = await page.evaluate(() => Reflect.get(window, "benchOpened"));
  await page.evaluate(() => Reflect.deleteProperty(window, "benchOpened"));
  await panel(page, "Workflows", false);
  await page.keyboard.press("Shift+1");
  await still(page);
  return took;
}

/**
 * Find a place of the canvas where nothing lies.
 * @param {Page} page
 */
export async function emptyPlace(page) {
  const found = await page.evaluate(() => {
    const box = document.querySelector(".react-flow")?.getBoundingClientRect();
    for (let y = 100; box && y < box.height - 250; y += 7)
      for (let x = 100; x < box.width - 350; x += 7)
        if (document.elementFromPoint(box.x + x, box.y + y)?.classList.contains("react-flow__pane"))
          return { x: box.x + x, y: box.y + y };
    return null;
  });
  if (!found) throw new Error("there is no empty place on the canvas");
  return found;
}

/**
 * Zoom in until nodes are as large as one works on them.
 * @param {Page} page
 */
export async function zoomIn(page) {
  const box = await page.locator(".react-flow").boundingBox();
  if (!box) throw new Error("there is no canvas");
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  const zoom = () =>
    page
      .locator(".react-flow__viewport")
      .evaluate((view) => new DOMMatrix(getComputedStyle(view).transform).a);
  while ((await zoom()) < 0.9) await page.mouse.wheel(0, -100);
  await still(page);
}

/**
 * Wait until the view has not moved for some frames.
 * @param {Page} page
 */
async function still(page) {
  await page.evaluate(async () => {
    const where = () => document.querySelector(".react-flow__viewport")?.getAttribute("style");
    for (let before = where(), same = 0; same < 20; before = where()) {
      await new Promise(requestAnimationFrame);
      same = where() === before ? same + 1 : 0;
    }
  });
}

/**
 * Show or hide a panel of the left rail.
 * @param {Page} page
 * @param {string} name
 * @param {boolean} shown
 */
async function panel(page, name, shown) {
  const button = page.getByRole("navigation", { name: "Panels" }).getByRole("button", { name });
  if (((await button.getAttribute("aria-pressed")) === "true") !== shown) await button.click();
}

/**
 * The heap before and after panels were opened and closed many times.
 * @param {Page} page
 * @param {number} toggles
 */
async function heap(page, toggles) {
  const round = async () => {
    for (const name of PANELS) {
      await panel(page, name, true);
      await panel(page, name, false);
    }
  };
  await round(); // what is loaded once, on first use
  const before = await heapMb(page);
  for (let n = 0; n < toggles; n += PANELS.length) await round();
  const after = await heapMb(page);
  return { heap_mb_before: before, heap_mb_after: after, heap_growth: after / before - 1 };
}
