/** A picture of the input folder: dropped, pasted, uploaded or chosen among those that are there. */

import { Brush, FolderOpen, Upload } from "lucide-react";
import { type ClipboardEvent, type DragEvent, lazy, Suspense, useRef, useState } from "react";
import { api, fileUrl } from "../../server/api";
import type { Stored } from "../../server/messages";
import { useCatalogue } from "../../state/catalogueStore";
import { useDocument } from "../../state/tabs";
import { IconButton } from "../../ui/Button";
import { TextField } from "../../ui/Field";
import { Popover } from "../../ui/Popover";
import type { WidgetProps } from "../types";
import { RESULT_TYPE } from "./dragged";
import styles from "./image.module.css";
import { givesMask } from "./under";
import { forgetFile, useInputFile } from "./useInputFile";

const MaskDialog = lazy(async () => ({ default: (await import("../regionEditor/MaskDialog")).MaskDialog }));
const LISTED = 60;

export function ImageWidget(props: WidgetProps) {
  const { id, label, value, onChange, disabled, place, at } = props;
  const name = typeof value === "string" ? value : "";
  const digest = useInputFile(name);
  const catalogue = useCatalogue((state) => state.nodes);
  const isMask = useDocument((d) => at !== undefined && givesMask(d.workflow, catalogue, at.scope, at.node));
  const [failed, setFailed] = useState("");
  const [over, setOver] = useState(false);
  const [painting, setPainting] = useState(false);
  const chooser = useRef<HTMLInputElement>(null);

  const upload = async (file: Blob, called: string) => {
    setFailed("");
    try {
      const stored = await api.upload(called, file);
      forgetFile(stored.name);
      onChange(stored.name);
    } catch (error) {
      setFailed(error instanceof Error ? error.message : String(error));
    }
  };
  const drop = async (event: DragEvent) => {
    setOver(false);
    const result = event.dataTransfer.getData(RESULT_TYPE);
    const [file] = event.dataTransfer.files;
    if (disabled || (!file && !result)) return;
    event.preventDefault();
    event.stopPropagation();
    if (file) return upload(file, file.name);
    const { digest: from, name: called } = JSON.parse(result);
    await upload(
      await (await fetch(fileUrl(String(from)))).blob(),
      String(called).split("/").pop() || "result.png",
    );
  };
  const paste = (event: ClipboardEvent) => {
    const [file] = event.clipboardData.files;
    if (!file || disabled) return;
    event.preventDefault();
    event.stopPropagation();
    void upload(file, file.name || "pasted.png");
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping is for the mouse; the buttons do the same
    <div
      className={styles.widget}
      data-place={place}
      data-over={over}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => void drop(event)}
      onPaste={paste}
    >
      {digest ? (
        <img src={fileUrl(digest)} alt={name} draggable={false} />
      ) : (
        <span className={styles.empty}>
          {name && digest === null ? `${name} is not there` : "Drop or paste a picture"}
        </span>
      )}
      <div className={styles.bar}>
        <input
          ref={chooser}
          hidden
          type="file"
          accept="image/png,image/jpeg,image/webp"
          onChange={(event) => {
            const [file] = event.target.files ?? [];
            if (file) void upload(file, file.name);
            event.target.value = "";
          }}
        />
        <Existing id={id} label={label} name={name} disabled={disabled} onChange={onChange} />
        <IconButton label={`Upload ${label}`} disabled={disabled} onClick={() => chooser.current?.click()}>
          <Upload size={14} />
        </IconButton>
        {isMask && (
          <IconButton label={`Paint ${label}`} disabled={disabled} onClick={() => setPainting(true)}>
            <Brush size={14} />
          </IconButton>
        )}
      </div>
      {failed && (
        <p className={styles.fault} role="alert">
          {failed}
        </p>
      )}
      {painting && (
        <Suspense fallback={null}>
          <MaskDialog {...props} onClose={() => setPainting(false)} />
        </Suspense>
      )}
    </div>
  );
}

interface ExistingProps {
  readonly id: string;
  readonly label: string;
  readonly name: string;
  readonly disabled: boolean;
  readonly onChange: (name: string) => void;
}

/** Choose among the pictures that are there, filtered as one types. */
function Existing({ id, label, name, disabled, onChange }: ExistingProps) {
  const [open, setOpen] = useState(false);
  const [files, setFiles] = useState<readonly Stored[]>([]);
  const [filter, setFilter] = useState("");
  const toggle = (next: boolean) => {
    setOpen(next);
    setFilter("");
    if (next)
      api.files({ kind: "input", limit: 500 }).then(
        (page) => setFiles(page.files),
        () => setFiles([]),
      );
  };
  const found = files.filter(
    (f) => f.media.startsWith("image/") && f.name.toLowerCase().includes(filter.toLowerCase()),
  );
  return (
    <Popover
      open={open}
      onOpenChange={toggle}
      trigger={
        <button
          id={id}
          type="button"
          className={styles.name}
          aria-label={`${label}: ${name || "none"}. Choose`}
          disabled={disabled}
          title={name}
        >
          <FolderOpen size={14} /> <span>{name || "Choose …"}</span>
        </button>
      }
    >
      <div className={styles.list}>
        <TextField
          type="search"
          aria-label="Filter pictures"
          placeholder="Filter"
          value={filter}
          onChange={(e) => setFilter(e.target.value)}
        />
        {!found.length && <p>{files.length ? "No picture is called that." : "There are no pictures yet."}</p>}
        <ul>
          {found.slice(0, LISTED).map((file) => (
            <li key={file.name}>
              <button
                type="button"
                aria-current={file.name === name}
                onClick={() => {
                  onChange(file.name);
                  setOpen(false);
                }}
              >
                <img src={fileUrl(file.digest)} alt="" loading="lazy" /> {file.name}
              </button>
            </li>
          ))}
        </ul>
      </div>
    </Popover>
  );
}
