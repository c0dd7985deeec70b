/** A file of a models folder, chosen among those that the server found, with what each was recognised as. */

import { RefreshCw } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { z } from "zod";
import { api, modelPictureUrl } from "../../server/api";
import { IconButton } from "../../ui/Button";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";
import { Combo } from "./ComboWidget";

const zModels = z.object({
  models: z.array(
    z.looseObject({
      kind: z.string(),
      name: z.string(),
      title: z.string().default(""),
      problem: z.string().default(""),
      picture: z.boolean().default(false),
    }),
  ),
});
type Named = z.infer<typeof zModels>["models"];
const [AGAIN_MS, TRIES] = [1000, 60];
let asked: Promise<Named> | null = null;

/** Ask for the models, once for all widgets, and again while the worker does not answer yet. */
function models(tries = TRIES): Promise<Named> {
  asked ??= api
    .models()
    .then((plain) => zModels.parse(plain).models)
    .catch(async () => {
      await new Promise((done) => setTimeout(done, AGAIN_MS));
      asked = null;
      return tries > 1 ? models(tries - 1) : [];
    });
  return asked;
}

export function FileWidget(props: WidgetProps) {
  const kind = props.spec.file ?? "";
  const [found, setFound] = useState<Named | null>(null);
  const files = found ?? [];
  const load = useCallback(
    () => void models().then((all) => setFound(all.filter((m) => m.kind === kind))),
    [kind],
  );
  useEffect(load, [load]);
  return (
    <span className={basic.pair}>
      <Combo
        {...props}
        choices={found ? files.map(({ name }) => name) : [String(props.value ?? "")]}
        about={new Map(files.map(({ name, title, problem }) => [name, title || problem]))}
        pictures={new Map(files.filter((f) => f.picture).map((f) => [f.name, modelPictureUrl(kind, f.name)]))}
        none={`No files in models/${kind}`}
      />
      <IconButton
        label={`Look again for files of ${props.label}`}
        onClick={() => {
          asked = null;
          load();
        }}
      >
        <RefreshCw size={13} />
      </IconButton>
    </span>
  );
}
