import { defineConfig } from "@playwright/test";

// Debian's Chromium against the real server, which each worker starts for itself (e2e/server.ts).
export default defineConfig({
  testDir: "e2e/journeys",
  outputDir: "../../output/e2e",
  workers: 1,
  fullyParallel: false,
  timeout: 180_000,
  expect: { timeout: 15_000 },
  reporter: [["list"]],
  use: {
    viewport: { width: 1440, height: 900 },
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
      ],
    },
  },
});
