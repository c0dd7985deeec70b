/** What a measurement reads in the page: when a graph stands, and how many frames a drag gets. */

import { deflateRawSync } from "node:zlib";

const DRAG_MS = 2500;
const STEP_PX = 12;
const TURN = 20; // steps in one direction

/** @typedef {import("@playwright/test").Page} Page */

/**
 * Drag to and fro with the button held for a while; returns the frames that the page drew in a second.
 * @param {Page} page
 * @param {{ x: number, y: number, button?: "left" | "middle" }} at an empty place, from where a drag moves the view
 */
export async function panFps(page, { x, y, button = "left" }) {
  await page.mouse.move(x, y);
  await page.mouse.down({ button });
  await page.evaluate(() => {
    const count = { frames: 0, from: performance.now() };
    const tick = () => {
      count.frames += 1;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    Object.assign(window, { benchCount: count });
  });
  const until = Date.now() + DRAG_MS;
  for (let step = 1; Date.now() < until; step += 1) {
    const part = step % (TURN * 2);
    const shift = (part < TURN ? part : TURN * 2 - part) * STEP_PX;
    await page.mouse.move(x + shift, y + shift / 2);
  }
  const fps = await page.evaluate(() => {
    const { frames, from } = Reflect.get(window, "benchCount");
    return (frames / (performance.now() - from)) * 1000;
  });
  await page.mouse.up({ button });
  return fps;
}

/**
 * Bytes in use by scripts after the garbage is collected, in MB.
 * @param {Page} page
 */
export async function heapMb(page) {
  const client = await page.context().newCDPSession(page);
  for (let round = 0; round < 3; round += 1) await client.send("HeapProfiler.collectGarbage");
  const { usedSize } = await client.send("Runtime.getHeapUsage");
  await client.detach();
  return usedSize / 1e6;
}

/**
 * Note how many bytes the page fetches, compressed as a server or proxy would.
 * @param {Page} page
 */
export function countBytes(page) {
  const total = { kb: 0, files: 0 };
  /** @type {Promise<void>[]} */
  const pending = [];
  page.on("response", (response) => {
    const type = response.request().resourceType();
    if (!["document", "script", "stylesheet", "font"].includes(type)) return;
    const read = async () => {
      const body = await response.body().catch(() => Buffer.alloc(0)); // a redirect has none
      total.kb += (type === "font" ? body.length : deflateRawSync(body, { level: 9 }).length) / 1024;
      total.files += 1;
    };
    pending.push(read());
  });
  return async () => {
    await Promise.all(pending);
    return total;
  };
}
