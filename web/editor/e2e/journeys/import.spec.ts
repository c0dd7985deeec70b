/** Journey 8, the foreign half: workflows of ComfyUI open, and what became of their nodes is told. */

import { expect } from "@playwright/test";
import { nodeOf } from "../graph";
import { openEditor, showPanel, test } from "../helpers";

const PROMPT = {
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 5,
      steps: 4,
      cfg: 3,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
      model: ["4", 0],
      positive: ["6", 0],
      negative: ["6", 0],
      latent_image: ["5", 0],
    },
  },
  "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "v1-5.safetensors" } },
  "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: "a boat", clip: ["4", 1] } },
  "7": { class_type: "NobodysNode", inputs: { latent: ["3", 0], strength: 0.5 } },
};

test("a prompt of ComfyUI opens in a tab of its own; a node that is unknown here stays, and is named", async ({
  page,
}) => {
  await openEditor(page);
  await expect(page.getByRole("application")).toBeVisible({ timeout: 60_000 });
  await showPanel(page, "Workflows");
  const chooser = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: /^Open a file/ }).click();
  await (await chooser).setFiles({
    name: "prompt.json",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify(PROMPT)),
  });
  const report = page.getByRole("dialog", { name: "What became of this workflow" });
  await expect(report.getByText(/nodes came over.*1 is unknown here/)).toBeVisible();
  await report.getByText(/NobodysNode/).waitFor();
  await report.getByRole("listitem").filter({ hasText: "NobodysNode" }).getByRole("button").click();
  await expect(report).toBeHidden();
  const unknown = page.getByRole("group", { name: /^NobodysNode/ });
  await expect(unknown.getByText("unknown")).toBeVisible();
  await expect(nodeOf(page, "3")).toContainText("KSampler");
  await expect(page.getByRole("banner").getByRole("button", { name: /^Text to image/ })).toBeVisible();
});
