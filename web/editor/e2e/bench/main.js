/** `node e2e/bench/main.js < orders.json`: measures in one browser what the orders name; figures on standard output. */

import { readFileSync } from "node:fs";
import { chromium } from "@playwright/test";
import * as comfyui from "./comfyui.js";
import * as sfumato from "./sfumato.js";

const orders = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
const figures = {};
for (const [name, measure] of Object.entries({ sfumato: sfumato.measure, comfyui: comfyui.measure })) {
  if (!orders[name]) continue;
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 } });
  try {
    figures[name] = await measure(page, orders[name]);
  } catch (error) {
    figures[name] = { failed: String(error) };
  }
  await page.close();
}
await browser.close();
process.stdout.write(JSON.stringify({ ...figures, browser: browser.version() }));
