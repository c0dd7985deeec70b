/** One browser tab writes a document. Web Locks say which; a channel asks it to let go. */

import type { DocumentStore } from "../state/documentStore";
import { loadTheirs, saveNow } from "../state/saving";
import { useTabs } from "../state/tabs";

const CHANNEL = "sfumato-documents";
/** What this page holds, and how to let it go. Locks belong to the page, not to a component. */
const held = new Map<string, () => void>();
const asked = new Set<string>();

/** Hold the locks of all open documents, as far as no other browser tab does; returns how to stop looking. */
export function ownDocuments(): () => void {
  if (!("locks" in navigator)) return () => {}; // plain http from another machine: revisions alone must do
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data }: MessageEvent<unknown>) => void letGo(String(data));
  const stops = new Map<DocumentStore, () => void>();
  const follow = () => {
    const { open } = useTabs.getState();
    const ids = new Set(open.map((document) => document.getState().server?.id));
    for (const id of [...held.keys()]) if (!ids.has(id)) release(id);
    for (const document of open) {
      if (!stops.has(document)) {
        const stop = document.subscribe((now, before) => now.server?.id !== before.server?.id && follow());
        stops.set(document, stop);
      }
      const { server, readOnly } = document.getState();
      if (server && !readOnly) void hold(document, server.id, { ifAvailable: true });
    }
  };
  const stopTabs = useTabs.subscribe(follow);
  follow();
  return () => {
    stopTabs();
    for (const stop of stops.values()) stop();
    channel.close();
  };
}

/** Ask the browser tab that writes a document to let go, then write it here, from its newest revision. */
export async function takeOver(document: DocumentStore): Promise<void> {
  const id = document.getState().server?.id;
  if (!id) return;
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage(id);
  channel.close();
  await hold(document, id, {});
  await loadTheirs(document);
}

/** Take a document's lock; settles when it is had, or with `readOnly` set when it is not to be had. */
function hold(document: DocumentStore, id: string, options: LockOptions): Promise<void> {
  if (held.has(id) || asked.has(id)) return Promise.resolve();
  asked.add(id);
  return new Promise((settled) => {
    void navigator.locks.request(nameOf(id), options, (lock) => {
      asked.delete(id);
      document.getState().note({ readOnly: lock === null });
      const kept = lock ? new Promise<void>((free) => held.set(id, free)) : undefined;
      settled();
      return kept;
    });
  });
}

async function letGo(id: string): Promise<void> {
  const document = useTabs.getState().open.find((one) => one.getState().server?.id === id);
  if (!document || !held.has(id)) return;
  await saveNow(document);
  document.getState().note({ readOnly: true });
  release(id);
}

function release(id: string): void {
  held.get(id)?.();
  held.delete(id);
}

function nameOf(id: string): string {
  return `sfumato-document-${id}`;
}
