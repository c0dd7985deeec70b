import { linksOf, newWorkflow, nodeOf, nodesOf, options, spot, titleOf } from "../graph";
import { expect, test } from "../server";

test("undo all and redo all give the same graph, one step for each gesture", async ({ editor: page }) => {
  const graph = async () => ({ nodes: await nodesOf(page), links: await linksOf(page) });
  const before = await graph();
  await titleOf(page, "decode").click();
  for (const keys of ["Control+b", "Control+m", "Control+d", "Alt+c", "Control+g", "Delete"]) {
    await page.keyboard.press(keys);
  }
  await expect(page.getByText(/^Deleted: /)).toBeAttached();
  const after = await graph();
  const undo = page.getByRole("button", { name: /^Undo/ });
  let steps = 0;
  while (await undo.isEnabled()) {
    await page.keyboard.press("Control+z");
    steps += 1;
    if (steps > 20) throw new Error("undo never ends");
  }
  expect(steps).toBe(6);
  await expect.poll(graph).toEqual(before);
  for (let n = 0; n < steps; n += 1) await page.keyboard.press("Control+Shift+z");
  await expect.poll(graph).toEqual(after);
});

test("typing is one step of undo", async ({ editor: page }) => {
  const text = nodeOf(page, "prompt").getByRole("textbox", { name: "text" });
  await text.press("End");
  await text.pressSequentially(" at night");
  await expect(text).toHaveValue("a red car on a beach at night");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Undo change text" }).click();
  await expect(text).toHaveValue("a red car on a beach");
});

test("copy and paste keep links, in place and into another workflow, and one undo removes a paste", async ({
  editor: page,
}) => {
  await titleOf(page, "decode").click();
  await titleOf(page, "save").click({ modifiers: ["Shift"] });
  await page.keyboard.press("Control+c");
  await expect(page.getByText("Copied 2")).toBeAttached(); // browsers take a moment to put it on the clipboard
  const at = await spot(page, 0.75, 0.75);
  await page.mouse.move(at.x, at.y);
  await page.keyboard.press("Control+v");
  await expect(nodeOf(page, "save_2")).toBeVisible();
  await expect.poll(() => linksOf(page)).toContain("save_2.image");
  expect(await linksOf(page)).not.toContain("decode_2.latent");
  await page.keyboard.press("Control+z");
  await expect(nodeOf(page, "save_2")).toBeHidden();
  await page.keyboard.press("Control+Shift+v");
  await expect.poll(() => linksOf(page)).toContain("decode_2.latent");

  await newWorkflow(page);
  await page.keyboard.press("Control+v");
  await expect.poll(() => nodesOf(page)).toEqual(["decode", "save"]);
  await expect.poll(() => linksOf(page)).toEqual(["save.image"]);

  await page.evaluate(() => navigator.clipboard.writeText("just a sentence"));
  await page.keyboard.press("Control+v");
  await expect(page.getByText("There are no nodes on the clipboard.")).toBeAttached();
  expect(await nodesOf(page)).toEqual(["decode", "save"]);
});

test("a subgraph is made, opened, left and dissolved", async ({ editor: page }) => {
  const links = await linksOf(page);
  await titleOf(page, "sampler").click();
  await titleOf(page, "decode").click({ modifiers: ["Shift"] });
  await page.keyboard.press("Control+Shift+g");
  await expect(nodeOf(page, "group")).toBeVisible();
  await titleOf(page, "group").dblclick();
  await expect(page.getByRole("navigation", { name: "Subgraphs" })).toBeVisible();
  await expect(nodeOf(page, "@out")).toBeVisible();
  await page.keyboard.press("Control+ArrowUp");
  await titleOf(page, "group").click();
  await page.keyboard.press("Control+Alt+g");
  await expect(nodeOf(page, "group")).toBeHidden();
  await expect.poll(() => linksOf(page)).toEqual(links);
});

test("without a pointer: add two nodes and connect them", async ({ editor: page }) => {
  await newWorkflow(page);
  await page.getByRole("application").focus();
  for (const title of ["Value", "Math"]) {
    await page.keyboard.press("Space");
    await page.keyboard.type(title === "Value" ? "Integer" : title);
    await page.keyboard.press("Enter");
    await expect(options(page)).toHaveCount(0);
  }
  await page.keyboard.press("c");
  const choice = page.getByRole("dialog", { name: "Connect to…" }).getByRole("button").nth(1);
  await expect(choice).toBeVisible();
  await choice.focus();
  await page.keyboard.press("Enter");
  await expect.poll(async () => (await linksOf(page)).length).toBe(1);
});
