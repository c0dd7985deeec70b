import {
  addNode,
  choose,
  drag,
  link,
  linksOf,
  linkToNew,
  newWorkflow,
  nodeOf,
  options,
  settled,
  socketAt,
  spot,
  titleOf,
} from "../graph";
import { ended, eventsOf, runButton, standing, started } from "../helpers";
import { expect, test } from "../server";

test("first open shows a valid text to image, and one press makes a picture", async ({ editor: page }) => {
  await expect(page.locator(".react-flow__node-node")).toHaveCount(7);
  await nodeOf(page, "sampler").getByRole("spinbutton", { name: "steps" }).fill("2"); // the machine of the tests is slow
  await page.keyboard.press("Tab");
  const first = await started(page, () => runButton(page).click());
  await ended(page, first);
  await expect(standing(page, first)).toHaveText(/^Done/);
  await expect(nodeOf(page, "save").locator("img")).toBeVisible();
  await expect(page.getByRole("group", { name: /^Sample, (done|reused)$/ })).toBeVisible();

  await nodeOf(page, "sampler")
    .getByRole("spinbutton", { name: "seed" })
    .fill(String(Date.now() % 1_000_000));
  const second = await started(page, () => page.keyboard.press("Control+Enter"));
  await ended(page, second);
  await expect(standing(page, second)).toHaveText(/^Done, \d reused in/);
  await expect(nodeOf(page, "prompt")).toContainText("reused");
  await expect(page.getByRole("group", { name: "Sample, done" })).toBeVisible();
  const events = await eventsOf(page, second);
  expect(events).toEqual(expect.arrayContaining(["step_cached prompt", "step_done sampler"]));
});

test("text to image from an empty canvas, by palette and by links let go", async ({ editor: page }) => {
  await newWorkflow(page);
  await addNode(page, "Load embedded", await spot(page, 0.12, 0.45));
  await linkToNew(page, ["load_embedded", "o:clip"], await spot(page, 0.35, 0.2), "Encode text");
  await linkToNew(page, ["load_embedded", "o:model"], await spot(page, 0.35, 0.75), "Empty latent");
  await linkToNew(page, ["encode_text", "o:conditioning"], await spot(page, 0.74, 0.4), "Sample › positive");
  await page.keyboard.press("Shift+L");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Shift+1");
  await settled(page);
  await link(page, ["load_embedded", "model"], ["sample", "model"]);
  await link(page, ["empty_latent", "latent"], ["sample", "latent"]);
  await expect
    .poll(() => linksOf(page))
    .toEqual(["empty_latent.model", "encode_text.clip", "sample.latent", "sample.model", "sample.positive"]);
  await nodeOf(page, "encode_text").getByRole("textbox", { name: "text" }).fill("a blue boat");
  await expect(nodeOf(page, "encode_text").getByRole("textbox", { name: "text" })).toHaveValue("a blue boat");
});

test("a link let go over nothing lists only what fits", async ({ editor: page }) => {
  await drag(page, await socketAt(page, "loader", "o:vae"), await spot(page, 0.3, 0.95));
  await expect(options(page).first()).toContainText("› vae");
  for (const text of await options(page).allTextContents())
    expect(text).not.toMatch(/› (image|latent|model|clip|mask)/);
  await page.keyboard.press("Escape");
  await expect(options(page)).toHaveCount(0);
});

test("a refused link says why, at the pointer and to screen readers, and changes nothing", async ({
  editor: page,
}) => {
  const before = await linksOf(page);
  await link(page, ["decode", "image"], ["sampler", "model"]);
  await expect(page.getByText("Not linked: This would make a circle")).toBeAttached();
  await link(page, ["loader", "vae"], ["sampler", "latent"]);
  await expect(page.getByText("latent takes latent, not vae.", { exact: true })).toBeVisible();
  expect(await linksOf(page)).toEqual(before);
});

test("a converter is offered and put between in one step", async ({ editor: page }) => {
  await link(page, ["sampler", "latent"], ["save", "image"]);
  await page.getByRole("button", { name: "Insert “VAE decode”" }).click();
  await expect(nodeOf(page, "vae_decode")).toBeVisible();
  await page.keyboard.press("Control+z");
  await expect(nodeOf(page, "vae_decode")).toBeHidden();
});

test("a link to an input in use replaces, in one step", async ({ editor: page }) => {
  await link(page, ["negative", "conditioning"], ["sampler", "positive"]);
  await titleOf(page, "sampler").click();
  await expect(page.getByText("Linked conditioning to positive")).toBeAttached();
  await expect
    .poll(async () => (await linksOf(page)).filter((id) => id === "sampler.positive"))
    .toHaveLength(1);
  await page.keyboard.press("Control+z");
  await expect(page.getByText("Undone: link positive")).toBeAttached();
});

test("a node dropped on a link is put between; deleting it closes the gap", async ({ editor: page }) => {
  await page.keyboard.press("Control+k");
  await choose(page, "Blur image");
  const grip = await titleOf(page, "blur_image").boundingBox();
  const from = await socketAt(page, "decode", "o:image");
  const to = await socketAt(page, "save", "i:image");
  if (!grip) throw new Error("the new node is out of sight");
  const middle = { x: (from.x + to.x) / 2, y: from.y };
  const size = await nodeOf(page, "blur_image").boundingBox();
  const start = { x: grip.x + grip.width / 2, y: grip.y + 6 };
  await drag(page, start, { x: middle.x, y: middle.y - (size?.height ?? 0) / 2 + 6 });
  await expect.poll(() => linksOf(page)).toContain("blur_image.image");
  await page.keyboard.press("Control+Delete");
  await expect(nodeOf(page, "blur_image")).toBeHidden();
  await expect.poll(() => linksOf(page)).toContain("save.image");
});
