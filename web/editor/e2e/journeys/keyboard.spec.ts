/** Journey 14: from the gallery to a result without a pointer. */

import AxeBuilder from "@axe-core/playwright";
import { expect, type Locator, type Page } from "@playwright/test";
import { openEditor, test } from "../helpers";

const TABS_MAX = 120;

/** Press Tab until something has the focus, and see that the focus is visible there. */
async function tabTo(page: Page, goal: Locator): Promise<void> {
  for (let presses = 0; presses < TABS_MAX; presses += 1) {
    if (await goal.evaluate((element) => element === document.activeElement)) {
      const outline = await goal.evaluate((element) => getComputedStyle(element).outlineStyle);
      expect(outline).not.toBe("none");
      return;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error("Tab does not lead there.");
}

test("gallery, prompt, run and result by keys alone", async ({ page }) => {
  await openEditor(page);
  await tabTo(
    page,
    page.getByRole("navigation", { name: "Panels" }).getByRole("button", { name: "Gallery" }),
  );
  await page.keyboard.press("Enter");
  const search = page.getByLabel("Search ready-made workflows");
  await tabTo(page, search);
  await page.keyboard.type("colours in place");
  await tabTo(
    page,
    page.getByRole("region", { name: "Gallery" }).getByRole("button", { name: /^Fake picture/ }),
  );
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Fake picture", level: 1 })).toBeVisible();
  await tabTo(page, page.getByLabel("Prompt", { exact: true }));
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type(`by keys ${Date.now()}`);
  await page.keyboard.press("ControlOrMeta+Enter");
  const result = page.getByRole("button", { name: "Look at the result of save" });
  await expect(result).toBeVisible();
  await tabTo(page, result);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog").getByRole("img", { name: "Result of save" })).toBeVisible();
  expect((await new AxeBuilder({ page }).analyze()).violations.map((v) => v.id)).toEqual([]);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(result).toBeFocused();
});
