/** How many actions a result takes from a fresh page: a press, a choice, a drag or a drop counts one, typing is free. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, type Locator, type Page } from "@playwright/test";
import { carrying, openEditor, runButton, runTo, started, test } from "../helpers";

const PHOTO = readFileSync(join(import.meta.dirname, "../../../../nodes/basics/examples/house_on_beach.png"));

/** Does what a person does, and counts it. */
class Hand {
  count = 0;
  constructor(readonly page: Page) {}

  async press(what: Locator, button: "left" | "right" = "left"): Promise<void> {
    await what.click({ button });
    this.count += 1;
  }

  async keys(): Promise<void> {
    await this.page.keyboard.press("ControlOrMeta+Enter");
    this.count += 1;
  }

  async drop(on: Locator, name: string, type: string, data: Buffer): Promise<void> {
    await on.dispatchEvent("drop", { dataTransfer: await carrying(this.page, name, type, data) });
    this.count += 1;
  }

  /** Draw on a pad, from and to parts of its size. */
  async draw(on: Locator, from: readonly [number, number], to: readonly [number, number]): Promise<void> {
    await on.scrollIntoViewIfNeeded();
    const box = await on.boundingBox();
    if (!box) throw new Error("There is nothing to draw on.");
    await this.page.mouse.move(box.x + box.width * from[0], box.y + box.height * from[1]);
    await this.page.mouse.down();
    await this.page.mouse.move(box.x + box.width * to[0], box.y + box.height * to[1], { steps: 6 });
    await this.page.mouse.up();
    this.count += 1;
  }

  async card(name: string): Promise<void> {
    const rail = this.page.getByRole("navigation", { name: "Panels" });
    const tab = rail.getByRole("button", { name: "Gallery" });
    if ((await tab.getAttribute("aria-pressed")) !== "true") await this.press(tab);
    const gallery = this.page.getByRole("region", { name: "Gallery", exact: true });
    await gallery.getByLabel("Search ready-made workflows").fill(name);
    await this.press(gallery.getByRole("button", { name: new RegExp(`^${name}`) }).first());
    await expect(this.page.getByRole("heading", { name, level: 1 })).toBeVisible();
  }

  /** Press Run; the server must take the workflow as it is. What it computes is tested elsewhere, so it is stopped. */
  async run(byKeys = false): Promise<void> {
    const job = await started(this.page, () => (byKeys ? this.keys() : this.press(runButton(this.page))));
    expect(job).toBeTruthy();
    await this.page.request.post(`/api/jobs/${job}/cancel`, { data: {} });
  }
}

interface Task {
  task: string;
  actions: number;
  how: (hand: Hand) => Promise<void>;
}

const field = (hand: Hand, label: string) => hand.page.getByLabel(label, { exact: true });

const TASKS: readonly Task[] = [
  { task: "text to image", actions: 1, how: (hand) => hand.run() },
  {
    task: "Prompt-to-Prompt",
    actions: 3,
    how: async (hand) => {
      await hand.card("Prompt-to-Prompt");
      await field(hand, "Edited prompt").fill("a blue boat on a beach");
      await hand.run();
    },
  },
  {
    task: "Prompt-to-Prompt on a photo of one's own",
    actions: 4,
    how: async (hand) => {
      await hand.card("Prompt-to-Prompt on a real picture");
      await hand.drop(hand.page.getByRole("button", { name: /^Picture: / }), "own.png", "image/png", PHOTO);
      await expect(hand.page.getByRole("button", { name: /^Picture: own.*png/ })).toBeVisible();
      await field(hand, "Edited caption").fill("a house on a beach in winter");
      await hand.run();
    },
  },
  {
    task: "DiffEdit",
    actions: 4,
    how: async (hand) => {
      await hand.card("DiffEdit");
      await hand.drop(hand.page.getByRole("button", { name: /^Picture: / }), "own.png", "image/png", PHOTO);
      await expect(hand.page.getByRole("button", { name: /^Picture: own.*png/ })).toBeVisible();
      await field(hand, "What it becomes").fill("a tree on a beach");
      await hand.run();
    },
  },
  {
    task: "SDEdit, from a stroke",
    actions: 5,
    how: async (hand) => {
      await hand.card("SDEdit: strokes to picture");
      await hand.press(hand.page.getByRole("button", { name: /^Strokes/ }));
      const dialog = hand.page.getByRole("dialog");
      await hand.draw(dialog.getByRole("img"), [0.2, 0.7], [0.8, 0.7]);
      await hand.run(true); // from within the pad
    },
  },
  {
    task: "load somebody's picture with its workflow",
    actions: 2,
    how: async (hand) => {
      const data = await madePicture(hand.page);
      const tabs = hand.page.getByRole("banner").getByRole("button", { name: /^Close / });
      const before = await tabs.count();
      await hand.drop(hand.page.locator("body"), "made.png", "image/png", data);
      await hand.press(hand.page.getByRole("dialog").getByRole("button", { name: "Open its workflow" }));
      await expect(tabs).toHaveCount(before + 1);
    },
  },
  {
    task: "a result as an input",
    actions: 2,
    how: async (hand) => {
      await madePicture(hand.page);
      const others = new Hand(hand.page);
      await others.card("Painted part");
      const results = hand.page.getByRole("region", { name: "Newest results" });
      await hand.press(results.getByRole("button", { name: /^Result of save/ }).first(), "right");
      await hand.press(hand.page.getByRole("menuitem", { name: /^Send to Load image/ }));
      await expect(hand.page.getByRole("button", { name: /^Photo: fake_/ })).toBeVisible();
    },
  },
];

/** Make a picture that holds its workflow, and return its bytes. */
async function madePicture(page: Page): Promise<Buffer> {
  await new Hand(page).card("Fake picture");
  await page.getByLabel("Prompt", { exact: true }).fill(`clicks ${Date.now()}`);
  await runTo(page, /^Done/);
  const made = page.getByRole("region", { name: "Results of this workflow" }).locator("img").first();
  const source = await made.getAttribute("src");
  return (await page.request.get(source ?? "")).body();
}

for (const { task, actions, how } of TASKS) {
  test(`${task} takes ${actions} ${actions === 1 ? "action" : "actions"}`, async ({ page }) => {
    await openEditor(page);
    const hand = new Hand(page);
    await how(hand);
    expect(hand.count).toBe(actions);
  });
}
