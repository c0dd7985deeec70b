/** The saved workflows, the earlier versions of the one that is open, files in and out. */

import { Download, FileUp, Trash2 } from "lucide-react";
import { type ChangeEvent, useCallback, useEffect, useRef, useState } from "react";
import { writeWorkflow } from "../graph/document";
import { api } from "../server/api";
import type { DocumentSummary } from "../server/messages";
import { restore } from "../state/saving";
import { useDocument, useDocumentStore, useTabs } from "../state/tabs";
import { useView } from "../state/viewStore";
import { Button, IconButton } from "../ui/Button";
import styles from "./documents.module.css";
import { openDocument, openFile } from "./open";

const tell = (error: unknown) =>
  useView.getState().announce(error instanceof Error ? error.message : String(error));

export function FilesPanel() {
  const document = useDocumentStore();
  const server = useDocument((d) => d.server);
  const [saved, setSaved] = useState<readonly DocumentSummary[]>([]);
  const load = useCallback(() => {
    api.documents().then(setSaved, tell);
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: read again whenever the open document was saved
  useEffect(load, [load, server]);
  return (
    <div className={styles.panel}>
      <Import />
      <Button onClick={() => download(writeWorkflow(document.getState().workflow))}>
        <Download size={14} /> Download this workflow
      </Button>
      <section aria-label="Saved workflows">
        <h3>Saved</h3>
        {!saved.length && <p className={styles.none}>What you change is saved here by itself.</p>}
        <ul className={styles.list}>
          {saved.map((summary) => (
            <Entry key={summary.id} summary={summary} onGone={load} isOpen={summary.id === server?.id} />
          ))}
        </ul>
      </section>
      {server && <Versions key={server.id} id={server.id} revision={server.revision} />}
    </div>
  );
}

function Import() {
  const [said, setSaid] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const choose = async (event: ChangeEvent<HTMLInputElement>) => {
    const [file] = event.target.files ?? [];
    if (file) setSaid((await openFile(file)) ?? "");
    event.target.value = "";
  };
  return (
    <div>
      <input
        ref={input}
        hidden
        type="file"
        accept=".json,.png,.webp,.jpg,.jpeg"
        aria-label="Workflow file"
        onChange={(event) => void choose(event)}
      />
      <Button onClick={() => input.current?.click()}>
        <FileUp size={14} /> Open a file
      </Button>
      {said && (
        <p className={styles.fault} role="alert">
          {said}
        </p>
      )}
    </div>
  );
}

function Entry({
  summary,
  isOpen,
  onGone,
}: {
  summary: DocumentSummary;
  isOpen: boolean;
  onGone: () => void;
}) {
  const [sure, setSure] = useState(false);
  const { id, name, saved, revision } = summary;
  const remove = async () => {
    await api.deleteDocument(id, revision);
    const { open, close } = useTabs.getState();
    const tab = open.find((one) => one.getState().server?.id === id);
    if (tab && open.length > 1) close(tab);
    else tab?.getState().note({ server: null });
    onGone();
  };
  return (
    <li>
      <button
        type="button"
        className={styles.name}
        aria-current={isOpen}
        onClick={() => openDocument(id).catch(tell)}
      >
        <strong>{name}</strong>
        <span>{new Date(saved * 1000).toLocaleString()}</span>
      </button>
      {sure ? (
        <>
          <Button look="danger" onClick={() => remove().catch(tell)}>
            Delete
          </Button>
          <Button onClick={() => setSure(false)}>Keep</Button>
        </>
      ) : (
        <IconButton label={`Delete ${name}`} onClick={() => setSure(true)}>
          <Trash2 size={14} />
        </IconButton>
      )}
    </li>
  );
}

function Versions({ id, revision }: { id: string; revision: number }) {
  const document = useDocumentStore();
  const readOnly = useDocument((d) => d.readOnly);
  const [versions, setVersions] = useState<readonly DocumentSummary[]>([]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `revision` says that there is a new one
  useEffect(() => {
    api.revisions(id).then(setVersions, tell);
  }, [id, revision]);
  return (
    <section aria-label="Earlier versions">
      <h3>Earlier versions of this workflow</h3>
      <ul className={styles.list}>
        {versions
          .filter((version) => version.revision !== revision)
          .map((version) => (
            <li key={version.revision}>
              <span className={styles.name}>
                {version.name} <span>{new Date(version.saved * 1000).toLocaleString()}</span>
              </span>
              <Button disabled={readOnly} onClick={() => restore(document, version.revision).catch(tell)}>
                Restore
              </Button>
            </li>
          ))}
      </ul>
    </section>
  );
}

function download(file: object): void {
  const url = URL.createObjectURL(
    new Blob([`${JSON.stringify(file, null, 2)}\n`], { type: "application/json" }),
  );
  const link = window.document.createElement("a");
  link.href = url;
  link.download = `${"name" in file ? String(file.name).replace(/[^\w -]+/g, "_") : "workflow"}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
