/** The tools that paint a mask over a picture. It is saved as a picture of its own, never inside the photo. */

import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { api, fileUrl } from "../../server/api";
import { Button } from "../../ui/Button";
import { forgetFile } from "../image/useInputFile";
import { coverage, fromMask, invert, toMask } from "./layer";
import { type Board, PaintBoard, type Tool } from "./PaintBoard";
import { loadPicture, pixelsOf, pngOf } from "./pixels";
import styles from "./regionEditor.module.css";

const COLOR = [255, 60, 60] as const;
const BLANK = 512;
const TOOLS: readonly { tool: Tool; label: string; key: string }[] = [
  { tool: "brush", label: "Brush", key: "b" },
  { tool: "eraser", label: "Eraser", key: "e" },
  { tool: "lasso", label: "Lasso", key: "l" },
];

interface Props {
  readonly label: string;
  /** The picture that lies below: its name and digest; null if there is none, undefined while it is not known. */
  readonly under: string;
  readonly underDigest: string | null | undefined;
  /** The mask to go on with. */
  readonly maskDigest: string | null | undefined;
  readonly onSave: (digest: string) => void;
  readonly onCancel: () => void;
}

export function MaskPainter({ label, under, underDigest, maskDigest, onSave, onCancel }: Props) {
  const board = useRef<Board>(null);
  const [side, setSide] = useState<{ width: number; height: number } | null>(null);
  const [tool, setTool] = useState<Tool>("brush");
  const [size, setSize] = useState(24);
  const [painted, setPainted] = useState(0);
  const [failed, setFailed] = useState("");
  const measure = () => {
    const canvas = board.current?.canvas;
    if (canvas) setPainted(coverage(pixelsOf(canvas, canvas.width, canvas.height).data));
  };

  useEffect(() => {
    if (underDigest === undefined || maskDigest === undefined) return;
    const url = underDigest ?? maskDigest;
    if (url === null) setSide({ width: BLANK, height: BLANK });
    else
      loadPicture(fileUrl(url)).then(
        (p) => setSide({ width: p.naturalWidth, height: p.naturalHeight }),
        (e: Error) => setFailed(e.message),
      );
  }, [underDigest, maskDigest]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the mask is put on the board once, when there is one
  useEffect(() => {
    if (!side || !maskDigest) return;
    loadPicture(fileUrl(maskDigest)).then(
      (mask) => {
        const { data } = pixelsOf(mask, side.width, side.height);
        board.current?.canvas
          .getContext("2d")
          ?.putImageData(new ImageData(fromMask(data, COLOR), side.width, side.height), 0, 0);
        measure();
      },
      (error: Error) => setFailed(error.message),
    );
  }, [side]);

  const all = (paint: (context: CanvasRenderingContext2D) => void) => board.current?.change(paint);
  const save = async () => {
    const canvas = board.current?.canvas;
    if (!canvas) return;
    const layer = pixelsOf(canvas, canvas.width, canvas.height);
    try {
      const stored = await api.upload(
        "mask.png",
        await pngOf(new ImageData(toMask(layer.data), canvas.width, canvas.height)),
      );
      forgetFile(stored.name);
      onSave(stored.digest); // by content: whoever paints another mask.png cannot change this one
    } catch (error) {
      setFailed(error instanceof Error ? error.message : String(error));
    }
  };
  const keys = (event: KeyboardEvent) => {
    if (event.target instanceof HTMLInputElement && event.target.type !== "range") return;
    const chosen = TOOLS.find((one) => one.key === event.key);
    const mod = event.ctrlKey || event.metaKey;
    if (mod && event.key.toLowerCase() === "z")
      event.shiftKey ? board.current?.redo() : board.current?.undo();
    else if (mod) return;
    else if (event.key === "[") setSize(Math.max(1, Math.round(size / 1.25)));
    else if (event.key === "]") setSize(Math.min(400, Math.round(size * 1.25) + 1));
    else if (chosen) setTool(chosen.tool);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys are shortcuts for the buttons inside
    <div className={styles.editor} onKeyDown={keys}>
      <div className={styles.bar} role="toolbar" aria-label="Tools">
        {TOOLS.map((one) => (
          <Button
            key={one.tool}
            aria-pressed={tool === one.tool}
            title={`Key ${one.key.toUpperCase()}`}
            onClick={() => setTool(one.tool)}
          >
            {one.label}
          </Button>
        ))}
        <label>
          Size
          <input
            type="range"
            min={1}
            max={200}
            value={Math.min(200, size)}
            onChange={(e) => setSize(Number(e.target.value))}
          />
          {size}
        </label>
        <Button onClick={() => board.current?.undo()}>Undo</Button>
        <Button onClick={() => board.current?.redo()}>Redo</Button>
        <Button
          onClick={() =>
            all((on) => {
              const { data, width, height } = on.getImageData(0, 0, on.canvas.width, on.canvas.height);
              on.putImageData(new ImageData(invert(data, COLOR), width, height), 0, 0);
            })
          }
        >
          Invert
        </Button>
        <Button
          onClick={() =>
            all((on) => {
              on.fillStyle = `rgb(${COLOR.join(" ")})`;
              on.fillRect(0, 0, on.canvas.width, on.canvas.height);
            })
          }
        >
          Fill
        </Button>
        <Button onClick={() => all((on) => on.clearRect(0, 0, on.canvas.width, on.canvas.height))}>
          Clear
        </Button>
      </div>
      {side && (
        <div
          className={styles.stage}
          style={{
            aspectRatio: `${side.width} / ${side.height}`,
            width: `min(100%, ${(62 * side.width) / side.height}vh)`,
          }}
        >
          <PaintBoard
            board={board}
            picture={underDigest ? fileUrl(underDigest) : null}
            width={side.width}
            height={side.height}
            tool={tool}
            size={size}
            color={`rgb(${COLOR.join(" ")})`}
            veil
            label={`${label}: ${Math.round(painted * 100)} percent painted`}
            onPainted={measure}
          />
        </div>
      )}
      {failed && <p role="alert">{failed}</p>}
      <div className={styles.end}>
        <span className={styles.said} role="status">
          {Math.round(painted * 100)} % painted{under && ` over ${under}`}
        </span>
        <Button onClick={onCancel}>Cancel</Button>
        <Button look="primary" disabled={!side} onClick={() => void save()}>
          Save mask
        </Button>
      </div>
    </div>
  );
}
