/** axe finds nothing in the main states, in both themes; and the states are photographed for people to look at. */

import AxeBuilder from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";
import { openEditor, openExample, runTo, showGraph, showPanel, test } from "../helpers";

const RULES = ["wcag2a", "wcag2aa", "wcag22aa"];

async function clean(page: Page, state: string): Promise<void> {
  // In the canvas, sizes are what the zoom makes of them: at 100 % controls have 24 px.
  const all = await new AxeBuilder({ page }).withTags(RULES).disableRules("target-size").analyze();
  const around = await new AxeBuilder({ page })
    .withRules("target-size")
    .exclude(".react-flow__viewport")
    .analyze();
  const found = [...all.violations, ...around.violations].flatMap((v) =>
    v.nodes.map((n) => `${v.id}: ${n.target} ${n.any[0]?.message ?? ""}`),
  );
  expect.soft(found, state).toEqual([]);
  const folder = process.env.SFUMATO_SHOTS;
  const theme = await page.evaluate(() => document.documentElement.dataset.scheme ?? "");
  if (folder) await page.screenshot({ path: `${folder}/${state}${theme}.png` });
}

for (const colorScheme of ["dark", "light"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });

    test(`the main states are accessible in the ${colorScheme} theme`, async ({ page }) => {
      await openEditor(page);
      await page.evaluate((name) => (document.documentElement.dataset.scheme = `-${name}`), colorScheme);
      await clean(page, "start");
      await openExample(page, "Fake picture");
      await runTo(page, /^Done/);
      await clean(page, "form-with-result");
      await page.getByRole("button", { name: "Edit form" }).click();
      await clean(page, "form-builder");
      await page.getByRole("button", { name: "Look at the result of save" }).click();
      const compare = page.getByRole("dialog").getByRole("button", { name: "Compare" });
      if (await compare.isEnabled()) await compare.click();
      await clean(page, "viewer");
      await page.keyboard.press("Escape");
      await showGraph(page);
      await page
        .getByRole("group", { name: /^Fake fault/ })
        .getByLabel("kind")
        .selectOption("value");
      await runTo(page, /^Failed/);
      await page.keyboard.press("F8");
      await page.getByRole("contentinfo").getByText("1 problem").click();
      await showPanel(page, "Queue");
      await clean(page, "problem-and-queue");
      await page.getByRole("button", { name: "Inspector", exact: true }).click();
      await showPanel(page, "Workflows");
      await clean(page, "inspector-and-workflows");
      await showPanel(page, "Results");
      await page.getByRole("button", { name: "Run options" }).click();
      await clean(page, "results-and-run-options");
      await page.keyboard.press("Escape");
      await openExample(page, "Widgets");
      await clean(page, "widgets");
      await openExample(page, "Painted part");
      await page.getByRole("button", { name: "Paint Mask" }).click();
      await expect(page.getByRole("dialog").getByText(/[1-9]\d* % painted/)).toBeVisible();
      await clean(page, "mask-editor");
    });
  });
}
