import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The server answers `/` with index.html and gives the rest under /static. Names carry a hash of the content, so a
// rebuild of the same sources gives the same bytes; no source maps, which would treble what is committed.
export default defineConfig({
  base: "/static/",
  plugins: [react()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the policy of the page lets no font or script in from a data: address
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
  },
  test: { environment: "node", include: ["src/**/*.test.{ts,tsx}"] },
});
