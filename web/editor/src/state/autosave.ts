/** Saving by itself, a moment after each change, in all open tabs. */

import { useEffect } from "react";
import type { DocumentStore } from "./documentStore";
import { saveNow } from "./saving";
import { useTabs } from "./tabs";

const QUIET_MS = 350;
const RETRY_MS = 3000;

/** Watch all open documents until the returned function is called. One that was only looked at is not saved. */
export function watchDocuments(): () => void {
  const timers = new Map<DocumentStore, ReturnType<typeof setTimeout>>();
  const stops = new Map<DocumentStore, () => void>();

  const plan = (document: DocumentStore, wait: number) => {
    clearTimeout(timers.get(document));
    timers.set(
      document,
      setTimeout(() => void saveNow(document), wait),
    );
  };
  const consider = (document: DocumentStore) => {
    const { save, server, history } = document.getState();
    const isTouched = server !== null || history.past.length > 0;
    if (save === "dirty" && isTouched) plan(document, QUIET_MS);
    else if (save === "failed") plan(document, RETRY_MS);
  };
  const follow = (open: readonly DocumentStore[]) => {
    for (const [document, stop] of stops) {
      if (open.includes(document)) continue;
      stop();
      stops.delete(document);
      flush(document);
    }
    for (const document of open) {
      if (stops.has(document)) continue;
      const stop = document.subscribe((now, before) => {
        if (now.workflow !== before.workflow || now.save !== before.save) consider(document);
      });
      stops.set(document, stop);
      consider(document);
    }
  };
  const flush = (document: DocumentStore) => {
    clearTimeout(timers.get(document));
    const { server, history } = document.getState();
    if (server !== null || history.past.length > 0) void saveNow(document);
  };
  const flushAll = () => useTabs.getState().open.forEach(flush);

  follow(useTabs.getState().open);
  const stopTabs = useTabs.subscribe(({ open }) => follow(open));
  window.addEventListener("pagehide", flushAll);
  return () => {
    stopTabs();
    window.removeEventListener("pagehide", flushAll);
    for (const timer of timers.values()) clearTimeout(timer);
    for (const stop of stops.values()) stop();
  };
}

export function Autosave() {
  useEffect(watchDocuments, []);
  return null;
}
