/** A file of a models folder, chosen among those that the server found. */

import { RefreshCw } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { z } from "zod";
import { api } from "../../server/api";
import { IconButton } from "../../ui/Button";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";
import { Combo } from "./ComboWidget";

const zModels = z.object({ models: z.array(z.looseObject({ kind: z.string(), name: z.string() })) });
type Named = z.infer<typeof zModels>["models"];
let asked: Promise<Named> | null = null;

/** Ask for the models once for all widgets; a worker that does not answer yet is asked again by the next. */
function models(): Promise<Named> {
  asked ??= api
    .models()
    .then((plain) => zModels.parse(plain).models)
    .catch(() => {
      asked = null;
      return [];
    });
  return asked;
}

export function FileWidget(props: WidgetProps) {
  const kind = props.spec.file ?? "";
  const [names, setNames] = useState<readonly string[]>([]);
  const load = useCallback(
    () => void models().then((all) => setNames(all.filter((m) => m.kind === kind).map((m) => m.name))),
    [kind],
  );
  useEffect(load, [load]);
  return (
    <span className={basic.pair}>
      <Combo {...props} choices={names} none={`No files in models/${kind}`} />
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
