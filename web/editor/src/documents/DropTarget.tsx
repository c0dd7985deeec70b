/** Files dropped on the page, or pasted: "Open its workflow" or "Use as image". What is open stays untouched. */

import { type DragEvent, useEffect, useState } from "react";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument, useDocumentStore } from "../state/tabs";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import styles from "./documents.module.css";
import { openFile } from "./open";
import { givePicture, pictureInputs } from "./pictures";

export function DropTarget() {
  const [dragging, setDragging] = useState(false);
  const [dropped, setDropped] = useState<File | null>(null);
  const [failed, setFailed] = useState("");
  const document = useDocumentStore();
  const workflow = useDocument((d) => d.workflow);
  const catalogue = useCatalogue((state) => state.nodes);

  const open = async (file: File) => {
    const reason = await openFile(file);
    if (reason) setFailed(reason);
    setDropped(reason && isPicture(file) ? file : null);
  };
  const use = async (file: File, to: Parameters<typeof givePicture>[3]) => {
    setDropped(null);
    setFailed("");
    try {
      await givePicture(document, file, file.name || "pasted.png", to);
    } catch (error) {
      setFailed(error instanceof Error ? error.message : String(error));
    }
  };

  useEffect(() => {
    let depth = 0;
    const hasFiles = (event: globalThis.DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: globalThis.DragEvent) => {
      if (!hasFiles(event)) return;
      depth += 1;
      setDragging(true);
    };
    const leave = (event: globalThis.DragEvent) => {
      if (hasFiles(event) && --depth <= 0) setDragging(false);
    };
    const over = (event: globalThis.DragEvent) => hasFiles(event) && event.preventDefault();
    const drop = (event: globalThis.DragEvent) => {
      depth = 0;
      setDragging(false);
      const file = event.dataTransfer?.files[0];
      if (!file || event.defaultPrevented) return;
      event.preventDefault();
      take(file);
    };
    const paste = (event: ClipboardEvent) => {
      const file = [...(event.clipboardData?.files ?? [])].find(isPicture);
      if (file && !event.defaultPrevented) take(file);
    };
    const take = (file: File) => {
      setFailed("");
      setDropped(file);
    };
    const stop = new AbortController();
    const { signal } = stop;
    window.addEventListener("dragenter", enter, { signal });
    window.addEventListener("dragleave", leave, { signal });
    window.addEventListener("dragover", over, { signal });
    window.addEventListener("drop", drop, { signal });
    window.addEventListener("paste", paste, { signal });
    return () => stop.abort();
  }, []);

  const dropOn = (event: DragEvent, act: (file: File) => void) => {
    event.preventDefault();
    setDragging(false);
    const [file] = event.dataTransfer.files;
    setFailed("");
    if (file) act(file);
  };

  const inputs = pictureInputs(workflow, catalogue);
  return (
    <>
      {dragging && (
        <div className={styles.targets}>
          {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is for the mouse; "Open a file" is for keys */}
          <div onDrop={(event) => dropOn(event, (file) => void open(file))}>Open its workflow</div>
          {/* biome-ignore lint/a11y/noStaticElementInteractions: as above */}
          <div onDrop={(event) => dropOn(event, (file) => void use(file, inputs[0] ?? null))}>
            Use as image{inputs[0] ? ` (${inputs[0].title})` : ""}
          </div>
        </div>
      )}
      <Dialog
        title={dropped ? dropped.name || "Pasted picture" : "This file"}
        open={dropped !== null || failed !== ""}
        onClose={() => {
          setDropped(null);
          setFailed("");
        }}
      >
        {failed && (
          <p className={styles.fault} role="alert">
            {failed}
          </p>
        )}
        {dropped && (
          <div className={styles.choices}>
            {!failed && (
              <Button look="primary" onClick={() => void open(dropped)}>
                Open its workflow
              </Button>
            )}
            {isPicture(dropped) && (
              <>
                {inputs.map((to) => (
                  <Button key={`${to.node}.${to.input}`} onClick={() => void use(dropped, to)}>
                    Use as image: {to.title}
                  </Button>
                ))}
                <Button onClick={() => void use(dropped, null)}>Use as image: new node</Button>
              </>
            )}
          </div>
        )}
      </Dialog>
    </>
  );
}

function isPicture(file: File): boolean {
  return ["image/png", "image/jpeg", "image/webp"].includes(file.type);
}
