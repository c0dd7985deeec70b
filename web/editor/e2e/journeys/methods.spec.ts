/** Journey 13: ready-made methods, from a card to a result, and the widgets that they bring. */

import AxeBuilder from "@axe-core/playwright";
import { expect, type Locator, type Page } from "@playwright/test";
import { linksOf, nodeOf, settled, socketAt } from "../graph";
import {
  ended,
  openEditor,
  openExample,
  runButton,
  runTo,
  showGraph,
  showPanel,
  started,
  test,
} from "../helpers";
import { openGate } from "../server";

/** Wait until a picture is not only there but shows something. */
async function loaded(picture: Locator): Promise<void> {
  await expect(picture).toBeVisible();
  await expect
    .poll(() => picture.evaluate((one) => (one instanceof HTMLImageElement ? one.naturalWidth : 0)))
    .toBeGreaterThan(0);
}

/** Open the editor and wait until the nodes are known. */
async function open(page: Page): Promise<void> {
  await openEditor(page);
  await expect(page.getByRole("application")).toBeVisible({ timeout: 60_000 });
}

/** Find nothing that keeps people out, in either theme. */
async function accessible(page: Page): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations } = await new AxeBuilder({ page })
      .withTags(["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"])
      .exclude(".react-flow__viewport") // its sizes follow the zoom
      .analyze();
    expect(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(", ")}`),
    ).toEqual([]);
  }
}

const results = (page: Page) => page.getByRole("region", { name: "Results of this workflow" });

test("the first page shows an example result, and so does a card until there is a result of one's own", async ({
  page,
}) => {
  await open(page);
  await loaded(nodeOf(page, "save").getByRole("img", { name: "Example result" }));
  await expect(page.getByRole("contentinfo").getByText("problem")).toBeHidden();
  await openExample(page, "Fake picture");
  await loaded(results(page).getByRole("img", { name: "Example result" }));
  await showGraph(page);
  await loaded(nodeOf(page, "save").getByRole("img", { name: "Example result" }));
  await page.getByRole("button", { name: "Form", exact: true }).click();
  await page.getByLabel("Prompt", { exact: true }).fill(`own ${Date.now()}`);
  await runTo(page, /^Done/);
  await expect(page.getByRole("img", { name: "Example result" })).toBeHidden();
  await expect(results(page).getByRole("button", { name: /^Look at the result/ })).toBeVisible();
});

test("a card shows before and after, what it needs and how long it takes; a search finds it", async ({
  page,
}) => {
  await open(page);
  await showPanel(page, "Gallery");
  const gallery = page.getByRole("region", { name: "Gallery" });
  const fake = gallery.getByRole("button", { name: /Fake picture/ });
  await fake.scrollIntoViewIfNeeded();
  await loaded(fake.locator("[data-which=before]"));
  await loaded(fake.locator("[data-which=after]"));
  await expect(fake.getByText("under 1 s")).toBeVisible();
  const painted = gallery.getByRole("button", { name: /Painted part/ });
  for (const need of ["a mask", "a picture", "3 min"]) await expect(painted.getByText(need)).toBeVisible();
  await accessible(page);
  await gallery.getByLabel("Search ready-made workflows").fill("text image");
  await expect(fake).toBeHidden();
  await loaded(gallery.getByRole("button", { name: /Text to image/ }).locator("[data-which=after]"));
});

test("what a node reports while it works is drawn as it comes", async ({ page }) => {
  await open(page);
  await openExample(page, "Learning");
  const gate = `learnt${Date.now()}`;
  await page.getByLabel("Until", { exact: true }).fill(gate);
  const job = await started(page, () => runButton(page).click());
  const plot = (points: RegExp) => page.getByRole("img", { name: points });
  await expect(plot(/^value over step\. loss: [3-8] points/)).toBeVisible();
  await showGraph(page);
  await expect(nodeOf(page, "learning").getByRole("img", { name: /loss: [3-8] points/ })).toBeVisible();
  openGate(gate);
  await ended(page, job);
  await nodeOf(page, "learning").locator(".node-grip").click();
  await expect(
    page.getByRole("region", { name: "Last run" }).getByRole("img", { name: /loss:/ }),
  ).toBeVisible();
});

test("words are those of the model's tokenizer; where each of them looked is seen on every grid", async ({
  page,
}) => {
  await open(page);
  await openExample(page, "Looking");
  const words = page.getByRole("group", { name: "Words" });
  await expect(words.getByText("6 of 22 tokens")).toBeVisible();
  await page.getByLabel("Prompt", { exact: true }).fill("a red watercolour car, on a beach");
  await expect(words.getByText(/ of 22 tokens/)).not.toHaveText("6 of 22 tokens");
  await expect(words.getByText(/\S·\S/)).toBeVisible(); // a word of several tokens says so
  await page.getByLabel("Prompt", { exact: true }).fill("a red car on a beach");
  await words.getByRole("slider", { name: /^red/ }).fill("2");
  await runTo(page, /^Done/);
  const view = results(page).getByRole("figure");
  await expect(view.getByRole("img", { name: /^Attention to “(red|car|beach)” on a grid of/ })).toBeVisible();
  await view.getByRole("radio", { name: "car" }).check({ force: true }); // its label is what people see
  const heat = view.getByRole("img", { name: /^Attention to “car”/ });
  await expect(heat).toBeVisible();
  const colours = () =>
    heat.evaluate((one) => {
      const [width, height] = one instanceof HTMLCanvasElement ? [one.width, one.height] : [0, 0];
      const data =
        one instanceof HTMLCanvasElement ? one.getContext("2d")?.getImageData(0, 0, width, height).data : [];
      return new Set(data).size;
    });
  await expect.poll(colours).toBeGreaterThan(10);
  const grids = view.getByRole("combobox", { name: "Grid" });
  const before = await heat.getAttribute("aria-label");
  await grids.selectOption({ index: 0 });
  await expect(heat).not.toHaveAttribute("aria-label", before ?? "");
  await expect.poll(colours).toBeGreaterThan(10);
  await view.getByLabel("one scale for all words").check();
  await accessible(page);
});

test("regions are drawn as boxes and painted, with their words, in their order", async ({ page }) => {
  await open(page);
  await openExample(page, "MultiDiffusion: regions");
  const form = page.getByRole("region", { name: "Form of MultiDiffusion: regions" });
  await form.getByText("How it works").click();
  await expect(form.getByText(/^Draw boxes, or paint regions/)).toBeVisible();
  await page.getByRole("button", { name: /^Regions: 2 boxes/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Remove box 2" }).click();
  await dialog.getByRole("button", { name: "Paint a region" }).click();
  const board = dialog.getByRole("img");
  const box = await board.boundingBox();
  if (!box) throw new Error("There is no board.");
  await dialog.getByLabel("Size").fill("80");
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height * 0.5);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.9, box.y + box.height * 0.5, { steps: 6 });
  await page.mouse.up();
  await expect(dialog.getByText(/^[1-9]\d* % painted/)).toBeVisible();
  await dialog.getByRole("button", { name: "Save mask" }).click();
  await dialog.getByLabel("Text of box 2").fill("a boat");
  await dialog.getByRole("button", { name: "Earlier" }).last().click();
  await expect(dialog.getByLabel("Text of box 1")).toHaveValue("a boat");
  await accessible(page);
  await dialog.getByRole("button", { name: "Done" }).click();
  await expect(page.getByRole("button", { name: /^Regions: 2 boxes/ })).toBeVisible();
});

test("a loader of one's own models takes the place of the embedded model's, and every link stays", async ({
  page,
}) => {
  await open(page);
  await settled(page);
  const before = await linksOf(page);
  await nodeOf(page, "loader").locator(".node-grip").click();
  const inspector = page.getByRole("region", { name: "Inspector" });
  await inspector
    .getByRole("combobox", { name: "Node", exact: true })
    .selectOption({ label: "Load checkpoint" });
  await expect(nodeOf(page, "loader")).toContainText("Load checkpoint");
  await expect(inspector.getByLabel(/^file/)).toBeVisible();
  expect(await linksOf(page)).toEqual(before);
});

test("a swipe with Alt cuts the links that it crosses, in one step; Alt+X cuts those into a node", async ({
  page,
}) => {
  await open(page);
  await settled(page);
  const before = await linksOf(page);
  const from = await socketAt(page, "decode", "o:image");
  const to = await socketAt(page, "save", "i:image");
  const across = (from.x + to.x) / 2;
  await page.keyboard.down("Alt");
  await page.mouse.move(across, Math.min(from.y, to.y) - 60);
  await page.mouse.down();
  await page.mouse.move(across, Math.max(from.y, to.y) + 60, { steps: 8 });
  await page.mouse.up();
  await page.keyboard.up("Alt");
  await expect.poll(() => linksOf(page)).not.toContain("save.image");
  await page.getByRole("button", { name: /^Undo/ }).click();
  await expect.poll(() => linksOf(page)).toEqual(before);
  await nodeOf(page, "decode").locator(".node-grip").click();
  await page.keyboard.press("Alt+x");
  await expect.poll(() => linksOf(page)).not.toContain("decode.latent");
  expect((await linksOf(page)).some((id) => id.startsWith("decode."))).toBe(false);
  await page.keyboard.press("Control+z");
  await expect.poll(() => linksOf(page)).toEqual(before);
});
