/** The words of a prompt with their tokens, as the tokenizer of the model that reads it cuts them. */

import { useEffect, useState } from "react";
import { textModelOf, type WeightsFile } from "../../graph/textModel";
import { api } from "../../server/api";
import type { TokenWords } from "../../server/messages";
import { useCatalogue } from "../../state/catalogueStore";
import { useDocument } from "../../state/tabs";
import type { WidgetProps } from "../types";

const PAUSE_MS = 250;
const KEPT = 100;
const known = new Map<string, TokenWords>();

/** Return the words, or null while they are not known: no model is linked, or the server does not answer. */
export function useTokens(at: WidgetProps["at"], prompt: string): TokenWords | null {
  const catalogue = useCatalogue((state) => state.nodes);
  const key = useDocument(({ workflow }) => {
    const model = at && textModelOf(workflow, catalogue, at.scope, at.node);
    return model && prompt ? JSON.stringify([model.kind, model.name, prompt]) : null;
  });
  const [, told] = useState(0);
  useEffect(() => {
    if (key === null || known.has(key)) return;
    let stale = false;
    const timer = setTimeout(() => {
      const [kind, name, text] = JSON.parse(key);
      const asked = { kind, name, text } satisfies WeightsFile & { text: string };
      api.tokens(asked).then(
        (words) => {
          if (known.size >= KEPT) known.clear();
          known.set(key, words);
          if (!stale) told((count) => count + 1);
        },
        () => {}, // the words alone will do
      );
    }, PAUSE_MS);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [key]);
  return key === null ? null : (known.get(key) ?? null);
}
