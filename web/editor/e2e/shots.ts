/** Pictures of the main states for docs/screens, taken by the tests that pass through them: `npm run shots`. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";

export const SHOTS = process.env.SFUMATO_SHOTS ?? "";
const QUALITY = 0.82;

/** Keep a picture of the page as `state-theme.webp`, when asked for. */
export async function shoot(page: Page, state: string): Promise<void> {
  if (!SHOTS) return;
  const isDark = await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches);
  const png = (await page.screenshot()).toString("base64");
  const paper = await page.context().newPage(); // an empty page: the browser itself packs it smaller than PNG
  const url = await paper.evaluate(
    async ({ png, quality }) => {
      const picture = new Image();
      picture.src = `data:image/png;base64,${png}`;
      await picture.decode();
      const canvas = document.createElement("canvas");
      canvas.width = picture.width;
      canvas.height = picture.height;
      canvas.getContext("2d")?.drawImage(picture, 0, 0);
      return canvas.toDataURL("image/webp", quality);
    },
    { png, quality: QUALITY },
  );
  await paper.close();
  const data = Buffer.from(url.split(",")[1] ?? "", "base64");
  writeFileSync(join(SHOTS, `${state}-${isDark ? "dark" : "light"}.webp`), data);
}
