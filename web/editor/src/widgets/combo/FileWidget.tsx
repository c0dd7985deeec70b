/** A file of a models folder, chosen among those that the server found. */

import { RefreshCw } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { z } from "zod";
import { api } from "../../server/api";
import { IconButton } from "../../ui/Button";
import basic from "../basic/basic.module.css";
import type { WidgetProps } from "../types";
import { Combo } from "./ComboWidget";

const zModels = z.object({ models: z.record(z.string(), z.array(z.string())) });
let asked: Promise<Record<string, string[]>> | null = null;

function namesByKind(): Promise<Record<string, string[]>> {
  asked ??= api.models().then(
    (plain) => zModels.parse(plain).models,
    () => {
      asked = null; // the worker may answer later
      return {};
    },
  );
  return asked;
}

export function FileWidget(props: WidgetProps) {
  const kind = props.spec.file ?? "";
  const [names, setNames] = useState<readonly string[]>([]);
  const load = useCallback(() => void namesByKind().then((all) => setNames(all[kind] ?? [])), [kind]);
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
