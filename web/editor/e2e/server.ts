/** A server of its own for each worker, on a free port with an empty data folder; and a page that opened it. */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, expect, type Page } from "@playwright/test";
import { settled } from "./graph";

const ROOT = join(import.meta.dirname, "../../..");
const PYTHON = process.env.SFUMATO_PYTHON ?? join(ROOT, ".venv/bin/python");
const START_MS = 60_000;
const GATES = process.env.SFUMATO_GATES ?? mkdtempSync(join(tmpdir(), "sfumato-gates-")); // leave for fake nodes to end

/** Let a fake node end that waits for a gate: no test depends on how fast the machine is. */
export function openGate(name: string): void {
  writeFileSync(join(GATES, name), "");
}

async function startServer(): Promise<{ url: string; stop: () => Promise<void> }> {
  const data = mkdtempSync(join(tmpdir(), "sfumato-e2e-"));
  const pack = join(import.meta.dirname, "pack"); // fast fake nodes
  const folders = ["--data-dir", data, "--output-dir", join(data, "output"), "--custom-nodes", pack];
  const server = spawn(PYTHON, ["main.py", "serve", "--port", "0", "--no-token", ...folders], {
    cwd: ROOT,
    env: { ...process.env, SFUMATO_GATES: GATES },
  });
  const ended = new Promise<void>((done) => server.once("exit", () => done()));
  let said = "";
  const url = await new Promise<string>((found, failed) => {
    const timer = setTimeout(() => failed(new Error(`The server did not start: ${said}`)), START_MS);
    const hear = (chunk: Buffer) => {
      said += chunk;
      const match = said.match(/http:\/\/127\.0\.0\.1:\d+\//);
      if (!match) return;
      clearTimeout(timer);
      found(match[0]);
    };
    server.stdout.on("data", hear);
    server.stderr.on("data", hear);
    server.once("exit", (code) => failed(new Error(`The server ended with ${code}: ${said}`)));
  });
  const stop = async () => {
    server.kill("SIGINT");
    await ended;
    for (const folder of [data, GATES]) rmSync(folder, { recursive: true, force: true });
  };
  return { url, stop };
}

/** `editor`: the page with the first workflow in the graph view. A console error fails the test. */
export const test = base.extend<{ editor: Page }, { server: string }>({
  server: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the names of fixtures from here
    async ({}, use) => {
      const running = process.env.SFUMATO_URL; // while writing tests: one that runs already
      const { url, stop } = running ? { url: running, stop: async () => {} } : await startServer();
      await use(url);
      await stop();
    },
    { scope: "worker", timeout: START_MS * 2 },
  ],
  baseURL: async ({ server }, use) => use(server),
  editor: async ({ page, server, context }, use) => {
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: new URL(server).origin });
    const errors: string[] = [];
    page.on("console", (message) => {
      const text = message.text();
      // While the worker still reads the nodes the server says 503, and a refused run is 400; the page says both.
      if (message.type() === "error" && !/status of (503|400|409)/.test(text)) errors.push(text);
    });
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(server);
    await expect(page.getByRole("application")).toBeVisible({ timeout: 30_000 });
    await settled(page);
    await use(page);
    expect(errors).toEqual([]);
  },
});

export { expect };
