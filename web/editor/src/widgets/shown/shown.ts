/** What a node shows people, read from what the engine says of it. Pure. */

import { z } from "zod";
import type { JsonObject } from "../../graph/types";

export const zShown = z.object({
  ui: z.string().catch("images"),
  text: z.string().catch(""),
  files: z
    .array(z.object({ digest: z.string(), name: z.string().catch(""), media: z.string().catch("") }))
    .catch([]),
});
export type Shown = z.infer<typeof zShown>;

/** Return the files of a comparison two by two: before, after. */
export function pairs<File>(files: readonly File[]): (readonly [before: File, after: File])[] {
  return files.flatMap((before, at) => {
    const after = files[at + 1];
    return at % 2 === 0 && after !== undefined ? [[before, after] as const] : [];
  });
}

/** Read what a node showed; what is not understood is left out. */
export function shownBy(ui: readonly JsonObject[]): Shown[] {
  return ui.flatMap((item) => zShown.safeParse(item).data ?? []);
}
