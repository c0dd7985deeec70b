/** Files of the input folder, by the name that a workflow knows them by. */

import { useEffect, useState } from "react";
import { api } from "../../server/api";
import { useCatalogue } from "../../state/catalogueStore";
import { useDocument } from "../../state/tabs";
import type { WidgetProps } from "../types";
import { pictureUnder } from "./under";

const DIGEST = /^[0-9a-f]{64}$/;
const known = new Map<string, Promise<string | null>>();

/** Return the digest of an input file; null if there is none, undefined while it is not known. */
export function useInputFile(name: string): string | null | undefined {
  const [found, setFound] = useState<{ name: string; digest: string | null } | null>(null);
  useEffect(() => {
    let stale = false;
    void digestOf(name).then((digest) => stale || setFound({ name, digest }));
    return () => {
      stale = true;
    };
  }, [name]);
  return found?.name === name ? found.digest : undefined;
}

/** Return the picture that a mask, box or stroke of a node is drawn on: its name, "" for none, and its digest. */
export function usePictureUnder(at: WidgetProps["at"]): {
  readonly under: string;
  readonly underDigest: string | null | undefined;
} {
  const catalogue = useCatalogue((state) => state.nodes);
  const under = useDocument((d) => (at && pictureUnder(d.workflow, catalogue, at.scope, at.node)) ?? "");
  return { under, underDigest: useInputFile(under) };
}

/** Forget what is known of a name: it was uploaded just now. */
export function forgetFile(name: string): void {
  known.delete(name);
}

function digestOf(name: string): Promise<string | null> {
  if (!name) return Promise.resolve(null);
  if (DIGEST.test(name)) return Promise.resolve(name);
  const there = known.get(name);
  if (there) return there;
  const asked = api.files({ kind: "input", name }).then(
    (page) => page.files[0]?.digest ?? null,
    () => {
      known.delete(name); // it may come
      return null;
    },
  );
  known.set(name, asked);
  return asked;
}
