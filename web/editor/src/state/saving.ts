/** Bringing documents to the server: by id, from the revision they grew from. A newer one there is never overwritten. */

import { readWorkflow, writeWorkflow } from "../graph/document";
import { ApiError, api } from "../server/api";
import type { DocumentStore } from "./documentStore";

/** Save a document now. Saves of one document follow each other; what changes meanwhile stays unsaved. */
export async function saveNow(document: DocumentStore): Promise<void> {
  const { workflow, server, save, readOnly, note } = document.getState();
  if (readOnly || save === "saving" || save === "conflict" || save === "saved") return;
  note({ save: "saving" });
  const file = writeWorkflow(workflow);
  const name = workflow.name.trim().slice(0, 200) || "Untitled";
  try {
    const saved = server
      ? await api.saveDocument(server.id, server.revision, { name, workflow: file })
      : await api.createDocument(name, file);
    note({
      server: { id: saved.id, revision: saved.revision },
      save: document.getState().workflow === workflow ? "saved" : "dirty",
      savedAt: saved.saved,
    });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    note({ save: error.status === 409 ? "conflict" : "failed" });
  }
}

/** Take the server's newest revision in place of what is here; what was here can be had back by undo. */
export async function loadTheirs(document: DocumentStore): Promise<void> {
  const { server } = document.getState();
  if (!server) return;
  const theirs = await api.document(server.id);
  adopt(document, theirs, "load the newer version");
}

/** Make an earlier revision the newest again. */
export async function restore(document: DocumentStore, revision: number): Promise<void> {
  await saveNow(document);
  const { server } = document.getState();
  if (server)
    adopt(
      document,
      await api.restoreRevision(server.id, server.revision, revision),
      `restore version ${revision}`,
    );
}

/** After a conflict: what is here becomes a document of its own. */
export async function saveAsCopy(document: DocumentStore): Promise<void> {
  const { workflow, run, note } = document.getState();
  note({ server: null, save: "dirty" });
  run({
    label: "save as a copy",
    apply: (draft) => void Object.assign(draft, { name: `${workflow.name} (copy)` }),
  });
  await saveNow(document);
}

function adopt(
  document: DocumentStore,
  theirs: Awaited<ReturnType<typeof api.document>>,
  label: string,
): void {
  const reading = readWorkflow(theirs.workflow);
  const { note, replace, readOnly } = document.getState();
  if (!reading) return;
  note({ readOnly: false });
  replace({ ...reading.workflow, name: theirs.name }, label);
  note({
    server: { id: theirs.id, revision: theirs.revision },
    save: "saved",
    savedAt: theirs.saved,
    readOnly,
  });
}
