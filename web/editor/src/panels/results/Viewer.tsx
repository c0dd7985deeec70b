/** The viewer: one result large, or two compared. Arrow keys go through the list. */

import { ChevronLeft, ChevronRight, Columns2, Download, Workflow } from "lucide-react";
import { type KeyboardEvent, lazy, Suspense } from "react";
import { fileUrl } from "../../server/api";
import { Button, IconButton } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { Menu } from "../../ui/Menu";
import { ShownAll } from "../../widgets/shown/ShownAll";
import { useActions } from "./actions";
import type { Result } from "./results";
import styles from "./results.module.css";
import { useAllResults, useResults } from "./resultsStore";

const Compare = lazy(async () => ({ default: (await import("../../widgets/imageCompare/Compare")).Compare }));

export function Viewer() {
  const viewed = useResults((results) => results.viewed);
  const view = useResults((results) => results.view);
  if (!viewed) return null;
  return (
    <Dialog title={`Result of ${viewed.node}`} open onClose={() => view(null)} wide>
      <Shown result={viewed} />
    </Dialog>
  );
}

function Shown({ result }: { result: Result }) {
  const { view, other } = useResults();
  const all = useAllResults();
  const { sendTo, items } = useActions(result);
  const at = all.findIndex((one) => one.id === result.id);
  const go = (by: number) => {
    const next = all[at + by];
    if (next) view(next);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target instanceof HTMLInputElement || other) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  };
  // By default the picture before it from the same node: what a change of settings did.
  const partner =
    all.slice(at + 1).find((one) => one.digest && one.node === result.node) ??
    all.slice(at + 1).find((one) => one.digest);
  const open = items.find((item) => item?.label === "Open its workflow");
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: arrow keys are a shortcut for the two buttons
    <div className={styles.viewer} onKeyDown={onKeyDown}>
      <div className={styles.bar}>
        <IconButton label="Newer" disabled={at <= 0} onClick={() => go(-1)}>
          <ChevronLeft size={16} />
        </IconButton>
        <IconButton label="Older" disabled={at >= all.length - 1} onClick={() => go(1)}>
          <ChevronRight size={16} />
        </IconButton>
        {result.digest && (
          <Button
            aria-pressed={other !== null}
            disabled={!partner && !other}
            onClick={() => view(result, other ? null : (partner ?? null))}
          >
            <Columns2 size={14} /> Compare
          </Button>
        )}
        <Button onClick={() => open?.run()}>
          <Workflow size={14} /> Open its workflow
        </Button>
        {sendTo.length > 0 && (
          <Menu items={sendTo}>
            <Button>Send to …</Button>
          </Menu>
        )}
        {result.digest && (
          <a
            className={styles.download}
            href={fileUrl(result.digest)}
            download={result.name.split("/").pop() ?? ""}
          >
            <Download size={14} /> Download
          </a>
        )}
        <span className={styles.meta}>
          {result.name} {new Date(result.at * 1000).toLocaleString()}
        </span>
      </div>
      {result.digest && other?.digest ? (
        <Suspense fallback={null}>
          <Compare
            before={{
              url: fileUrl(other.digest),
              label: `Earlier (${new Date(other.at * 1000).toLocaleTimeString()})`,
            }}
            after={{ url: fileUrl(result.digest), label: "This one" }}
          />
        </Suspense>
      ) : result.digest && !result.files.length ? (
        <img className={styles.large} src={fileUrl(result.digest)} alt={`Result of ${result.node}`} />
      ) : (
        <ShownAll shown={{ ui: result.kind, text: result.text, files: result.files }} />
      )}
    </div>
  );
}
