/** Which saved documents are open, remembered so that the page comes back as it was. */

import { z } from "zod";
import { readWorkflow } from "../graph/document";
import { api } from "../server/api";
import { createDocument } from "../state/documentStore";
import { useTabs } from "../state/tabs";

const NAME = "sfumato-open";
const zSession = z.object({
  open: z.array(z.object({ id: z.string(), key: z.string(), example: z.string().nullable().default(null) })),
  active: z.string().nullable(),
});
type Session = z.infer<typeof zSession>;

/** Open what was open before; false if nothing of it could be opened. */
export async function restoreSession(): Promise<boolean> {
  const session = read();
  for (const { id, key, example } of session?.open ?? []) {
    const saved = await api.document(id).catch(() => null);
    const reading = saved && readWorkflow(saved.workflow);
    if (!reading) continue;
    const document = createDocument(
      { ...reading.workflow, name: saved.name },
      { id, revision: saved.revision },
      example,
    );
    document.setState({ key }); // runs of the page before this one are found by it
    useTabs.getState().show(document);
  }
  const { open, show } = useTabs.getState();
  const active = open.find((document) => document.getState().server?.id === session?.active);
  if (active) show(active);
  return open.length > 0;
}

/** Remember from now on what is open; returns how to stop. */
export function rememberSession(): () => void {
  const remember = () => {
    const { open, active } = useTabs.getState();
    const saved = open.flatMap((document) => {
      const { key, server, example } = document.getState();
      return server ? [{ id: server.id, key, example }] : [];
    });
    const session: Session = { open: saved, active: active?.getState().server?.id ?? null };
    localStorage.setItem(NAME, JSON.stringify(session));
  };
  const stops = new Set<() => void>();
  const follow = () => {
    for (const stop of stops) stop();
    stops.clear();
    for (const document of useTabs.getState().open) {
      stops.add(document.subscribe((now, before) => now.server?.id !== before.server?.id && remember()));
    }
    remember();
  };
  follow();
  const stopTabs = useTabs.subscribe(follow);
  return () => {
    stopTabs();
    for (const stop of stops) stop();
  };
}

function read(): Session | null {
  try {
    return zSession.parse(JSON.parse(localStorage.getItem(NAME) ?? "null"));
  } catch {
    return null;
  }
}
