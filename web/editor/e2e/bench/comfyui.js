/**
 * Measures ComfyUI's frontend as a black box: its files from the package, its server's answers as empty as they may be.
 * What it is asked to do goes through `window.app`, which it offers to extensions, and through pointer and keys.
 */

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { countBytes, heapMb, panFps } from "./frames.js";

const READY_MS = 90_000;
const GRAPH_MS = 40_000;
const MEDIA = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};
/** What a fresh server says; every other route answers with an empty object. */
const LISTS =
  /^\/(api\/)?(extensions|embeddings|models|experiment\/models|userdata|v2\/userdata|global_subgraphs|assets)/;
const SETTINGS = { "Comfy.TutorialCompleted": true }; // else a dialog covers the graph
const QUEUE = { queue_running: [], queue_pending: [] };
const STATS = {
  system: { os: "posix", python_version: "3", pytorch_version: "2", embedded_python: false, argv: [] },
  devices: [{ name: "cpu", type: "cpu", index: 0, vram_total: 1, vram_free: 1 }],
};
const STATUS = { type: "status", data: { status: { exec_info: { queue_remaining: 0 } }, sid: "bench" } };

/** @typedef {import("@playwright/test").Page} Page */

/**
 * Measure it on the same graphs as the editor.
 * @param {Page} page
 * @param {{ folder: string, url?: string, info: object, graphs: Record<string, object>, toggles: number }} orders
 */
export async function measure(page, { folder, info, graphs }) {
  const server = createServer((request, response) => answer(request, response, folder, info));
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(null)));
  try {
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    await page.route(
      ({ hostname }) => hostname !== "127.0.0.1",
      (route) => route.abort(),
    );
    await page.routeWebSocket(/\/ws/, (socket) => socket.send(JSON.stringify(STATUS)));
    const bytes = countBytes(page);
    const began = performance.now();
    await page.goto(`http://127.0.0.1:${port}/`);
    await page.waitForFunction(
      () => Reflect.get(window, "app")?.graph && document.querySelector("canvas"),
      null,
      {
        timeout: READY_MS,
      },
    );
    /** @type {Record<string, number | string>} */
    const figures = { page_ms: performance.now() - began };
    await page.waitForLoadState("networkidle");
    await page.keyboard.press("Escape");
    const { kb, files } = await bytes();
    Object.assign(figures, { gzip_kb: kb, files });
    figures.heap_mb = await heapMb(page);
    for (const [size, graph] of Object.entries(graphs)) {
      const found = await Promise.race([one(page, size, graph), late(size)]);
      Object.assign(figures, found);
      if ("not_measured" in found) break; // it is still busy
    }
    return figures;
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/**
 * @param {string} size
 * @returns {Promise<Record<string, number | string>>}
 */
async function late(size) {
  await new Promise((passed) => setTimeout(passed, GRAPH_MS).unref());
  return { not_measured: `${size} nodes were not opened and moved within ${GRAPH_MS / 1000} s` };
}

/**
 * @param {Page} page
 * @param {string} size
 * @param {object} graph
 */
async function one(page, size, graph) {
  const opened = await page.evaluate(async (data) => {
    const app = Reflect.get(window, "app");
    const frame = () => new Promise(requestAnimationFrame);
    const from = performance.now();
    await app.loadGraphData(data);
    await frame();
    await frame();
    return { took: performance.now() - from, count: app.graph.nodes.length };
  }, graph);
  if (opened.count !== Number(size)) throw new Error(`it shows ${opened.count} of ${size} nodes`);
  const at = { x: 800, y: 450, button: /** @type {const} */ ("middle") }; // moves the view wherever it is pressed
  await page.mouse.move(at.x, at.y);
  await page.keyboard.press("."); // shows everything
  await page.waitForTimeout(1500); // its own animation
  const { scale } = await viewOf(page);
  const all = await movedFps(page, at);
  await page.evaluate(() => {
    const { canvas } = Reflect.get(window, "app");
    canvas.ds.scale = 1;
    canvas.ds.offset[0] = canvas.ds.offset[1] = 200; // the first nodes are in sight
    canvas.setDirty(true, true);
  });
  const near = await movedFps(page, at);
  const fps = { [`pan_all_fps_${size}`]: all, [`pan_fps_${size}`]: near };
  return { [`open_ms_${size}`]: opened.took, [`all_zoom_${size}`]: scale, ...fps };
}

/**
 * @param {Page} page
 * @param {{ x: number, y: number, button: "left" | "middle" }} at
 */
async function movedFps(page, at) {
  const before = await viewOf(page);
  const fps = await panFps(page, at);
  if ((await viewOf(page)).x === before.x) throw new Error("dragging does not move its view");
  return fps;
}

/** @param {Page} page */
async function viewOf(page) {
  return page.evaluate(() => {
    const { scale, offset } = Reflect.get(window, "app").canvas.ds;
    return { scale, x: offset[0] };
  });
}

/**
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 * @param {string} folder
 * @param {object} info
 */
function answer(request, response, folder, info) {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  const file = join(folder, normalize(pathname === "/" ? "/index.html" : pathname));
  if (file.startsWith(folder) && existsSync(file) && statSync(file).isFile()) {
    const media = Reflect.get(MEDIA, extname(file)) ?? "application/octet-stream";
    response.writeHead(200, { "Content-Type": media });
    createReadStream(file).pipe(response);
    return;
  }
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify(said(pathname, info)));
}

/**
 * @param {string} path
 * @param {object} info
 */
function said(path, info) {
  if (path.endsWith("/object_info")) return info;
  if (path.endsWith("/system_stats")) return STATS;
  if (path.endsWith("/queue")) return QUEUE;
  if (path.endsWith("/settings")) return SETTINGS;
  if (path.endsWith("/users")) return { storage: "server", migrated: true };
  return LISTS.test(path) ? [] : {};
}
