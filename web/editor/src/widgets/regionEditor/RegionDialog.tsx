/**
 * Regions with a text each: boxes drawn, moved and sized with pointer or keys, and painted ones if the node takes them
 * (`{"paint": true}`), listed in order.
 */

import { ArrowDown, ArrowUp, Brush, X } from "lucide-react";
import { type KeyboardEvent, type PointerEvent, useRef, useState } from "react";
import { fileUrl } from "../../server/api";
import { Button, IconButton } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { TextField } from "../../ui/Field";
import { useInputFile, usePictureUnder } from "../image/useInputFile";
import type { WidgetProps } from "../types";
import { between, moved, painted, type Region, readRegions, resized, SMALLEST, writeRegions } from "./boxes";
import { MaskPainter } from "./MaskPainter";
import styles from "./regionEditor.module.css";

const STEP = 0.01;
const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, -STEP],
  ArrowDown: [0, STEP],
};
const percent = (part: number) => `${part * 100}%`;

type Drag = {
  readonly kind: "new" | "move" | "size";
  readonly at: number;
  readonly from: { x: number; y: number };
  readonly box: Region;
};

export function RegionDialog({
  spec,
  value,
  onChange,
  label,
  at,
  onClose,
}: WidgetProps & { onClose: () => void }) {
  const picture = usePictureUnder(at);
  const [ratio, setRatio] = useState(1);
  const stage = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<Drag | null>(null);
  const [draft, setDraft] = useState<Region | null>(null);
  const [painting, setPainting] = useState<number | null>(null);
  const regions = readRegions(value);
  const region = painting === null ? undefined : regions[painting];
  const maskDigest = useInputFile(region?.mask ?? "");
  const mayPaint = spec.widget_options.paint === true;
  const put = (next: readonly Region[]) => onChange(writeRegions(next));
  const change = (place: number, region: Region) =>
    put(regions.map((one, n) => (n === place ? region : one)));
  const spot = (event: PointerEvent) => {
    const frame = stage.current?.getBoundingClientRect();
    if (!frame) return { x: 0, y: 0 };
    return { x: (event.clientX - frame.left) / frame.width, y: (event.clientY - frame.top) / frame.height };
  };
  const begin = (event: PointerEvent, kind: Drag["kind"], place: number, box: Region) => {
    if (event.button !== 0) return;
    event.stopPropagation();
    stage.current?.setPointerCapture(event.pointerId);
    setDrag({ kind, at: place, from: spot(event), box });
  };
  const move = (event: PointerEvent) => {
    if (!drag) return;
    const here = spot(event);
    const [dx, dy] = [here.x - drag.from.x, here.y - drag.from.y];
    if (drag.kind === "new") setDraft({ ...between(drag.from, here), text: "" });
    else setDraft(drag.kind === "move" ? moved(drag.box, dx, dy) : resized(drag.box, dx, dy));
  };
  const end = () => {
    if (drag && draft) {
      if (drag.kind !== "new") change(drag.at, draft);
      else if (draft.width > SMALLEST && draft.height > SMALLEST) put([...regions, draft]);
    }
    setDrag(null);
    setDraft(null);
  };
  const keys = (event: KeyboardEvent, place: number, region: Region) => {
    const step = ARROWS[event.key];
    if (step)
      change(place, event.shiftKey ? resized(region, step[0], step[1]) : moved(region, step[0], step[1]));
    else if (event.key === "Delete" || event.key === "Backspace") put(regions.filter((_, n) => n !== place));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const swap = (place: number, other: number) => {
    const [a, b] = [regions[place], regions[other]];
    if (a && b) put(regions.map((one, n) => (n === place ? b : n === other ? a : one)));
  };
  if (painting !== null) {
    return (
      <Dialog title={`Paint region ${painting + 1}`} open onClose={() => setPainting(null)} wide>
        <MaskPainter
          {...{ label: `region ${painting + 1}`, ...picture, maskDigest }}
          onSave={(mask) => {
            if (region) change(painting, painted(mask, region.text));
            else put([...regions, painted(mask)]);
            setPainting(null);
          }}
          onCancel={() => setPainting(null)}
        />
      </Dialog>
    );
  }
  const shown =
    drag && drag.kind !== "new" && draft ? regions.map((one, n) => (n === drag.at ? draft : one)) : regions;
  return (
    <Dialog title={label} open onClose={onClose} wide>
      <div className={styles.split}>
        <div
          ref={stage}
          className={styles.stage}
          style={{ aspectRatio: ratio, maxWidth: `min(100%, ${62 * ratio}vh)` }}
          onPointerDown={(event) =>
            begin(event, "new", regions.length, { x: 0, y: 0, width: 0, height: 0, text: "" })
          }
          onPointerMove={move}
          onPointerUp={end}
          onPointerCancel={end}
        >
          {picture.underDigest && (
            <img
              className={styles.picture}
              src={fileUrl(picture.underDigest)}
              alt=""
              draggable={false}
              onLoad={({ currentTarget }) =>
                setRatio(currentTarget.naturalWidth / currentTarget.naturalHeight)
              }
            />
          )}
          <div className={styles.boxes} data-drawing>
            {[...shown, ...(drag?.kind === "new" && draft ? [draft] : [])].map((region, place) =>
              region.mask ? (
                // biome-ignore lint/suspicious/noArrayIndexKey: regions are told apart by their order
                <Painted key={place} mask={region.mask} label={`${place + 1} ${region.text}`} />
              ) : (
                <button
                  // biome-ignore lint/suspicious/noArrayIndexKey: boxes are told apart by their order
                  key={place}
                  type="button"
                  className={styles.box}
                  style={{
                    left: percent(region.x),
                    top: percent(region.y),
                    width: percent(region.width),
                    height: percent(region.height),
                  }}
                  aria-label={`Box ${place + 1}, ${region.text || "no text"}; arrows move it, with Shift they size it, Delete removes it`}
                  onPointerDown={(event) => begin(event, "move", place, region)}
                  onKeyDown={(event) => keys(event, place, region)}
                >
                  {place + 1} {region.text}
                  <span
                    className={styles.corner}
                    onPointerDown={(event) => begin(event, "size", place, region)}
                  />
                </button>
              ),
            )}
          </div>
        </div>
        <ol className={styles.list} aria-label="Boxes">
          {regions.map((region, place) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: boxes are told apart by their order
            <li key={place}>
              <TextField
                aria-label={`Text of box ${place + 1}`}
                placeholder="What is here"
                value={region.text}
                onChange={(event) => change(place, { ...region, text: event.target.value })}
              />
              {region.mask && (
                <IconButton label={`Paint region ${place + 1}`} onClick={() => setPainting(place)}>
                  <Brush size={14} />
                </IconButton>
              )}
              <IconButton label="Earlier" disabled={place === 0} onClick={() => swap(place, place - 1)}>
                <ArrowUp size={14} />
              </IconButton>
              <IconButton
                label="Later"
                disabled={place === regions.length - 1}
                onClick={() => swap(place, place + 1)}
              >
                <ArrowDown size={14} />
              </IconButton>
              <IconButton
                label={`Remove box ${place + 1}`}
                onClick={() => put(regions.filter((_, n) => n !== place))}
              >
                <X size={14} />
              </IconButton>
            </li>
          ))}
          <li>
            <Button onClick={() => put([...regions, { x: 0.3, y: 0.3, width: 0.4, height: 0.4, text: "" }])}>
              Add a box
            </Button>{" "}
            {mayPaint && <Button onClick={() => setPainting(regions.length)}>Paint a region</Button>}
          </li>
        </ol>
      </div>
      <div className={styles.end}>
        <span className={styles.said}>
          Draw boxes on the picture{mayPaint && ", or paint regions"}; later ones lie over earlier ones.
        </span>
        <Button look="primary" onClick={onClose}>
          Done
        </Button>
      </div>
    </Dialog>
  );
}

/** A painted region as a veil in the shape of its mask, a file; brightness is what is painted. */
function Painted({ mask, label }: { mask: string; label: string }) {
  const digest = useInputFile(mask);
  return (
    <>
      {digest && <div className={styles.veil} style={{ maskImage: `url("${fileUrl(digest)}")` }} />}
      <span className={styles.painted}>{label}</span>
    </>
  );
}
