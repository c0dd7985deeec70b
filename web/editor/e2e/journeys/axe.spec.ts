/** axe finds nothing in the main states, in both themes; and the states are photographed for people to look at. */

import AxeBuilder from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";
import { newWorkflow, options } from "../graph";
import { openEditor, openExample, runTo, showGraph, showPanel, test } from "../helpers";
import { SHOTS, shoot } from "../shots";

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
  await shoot(page, state);
}

for (const colorScheme of ["dark", "light"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });

    test(`the main states are accessible in the ${colorScheme} theme`, async ({ page }) => {
      await openEditor(page);
      if (SHOTS) await runTo(page, /^Done/); // a real picture for people to look at
      await clean(page, "start");
      await showPanel(page, "Gallery");
      await expect(
        page.getByRole("region", { name: "Gallery", exact: true }).getByText("SDEdit"),
      ).toBeVisible();
      await clean(page, "gallery");
      await newWorkflow(page);
      await clean(page, "empty");
      await page.keyboard.press("Control+k");
      await expect(options(page).first()).toBeVisible();
      await clean(page, "palette");
      await page.keyboard.press("Escape");
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
