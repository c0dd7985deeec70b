import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import { shownKeys } from "../commands/keys";
import { actions, currentContext } from "../commands/registry";
import { said } from "../graph/links";
import { search } from "../graph/search";
import { type PaletteRequest, useCanvas } from "../state/canvasPort";
import { useCatalogue } from "../state/catalogueStore";
import { useView } from "../state/viewStore";
import { addableTypes, addNodeOf } from "./addNode";
import css from "./canvas.module.css";
import { colorOf } from "./typeLook";

const SHOWN = 60;
const RECENT_MAX = 8;
let recent: string[] = [];

interface Entry {
  id: string;
  title: string;
  note: string;
  keys?: string | undefined;
  color?: string;
  run: () => void;
}

/** Nodes and commands by name. Opened on an empty place, by Space, or by a link let go over nothing. */
export function Palette() {
  const request = useCanvas((canvas) => canvas.palette);
  const isOpen = useView((view) => view.paletteOpen);
  const port = useCanvas((canvas) => canvas.port);
  if (request) return <PaletteBox request={request} />;
  if (!isOpen || !port) return null;
  return (
    <PaletteBox
      request={{ at: port.pointer(), screen: { x: innerWidth / 2 - 180, y: 120 }, pending: null }}
    />
  );
}

function PaletteBox({ request }: { request: PaletteRequest }) {
  const [text, setText] = useState("");
  const [place, setPlace] = useState(0);
  const [at] = useState(request.at); // the pointer moves on while somebody types
  const list = useRef<HTMLDivElement>(null);
  const catalogue = useCatalogue((state) => state.nodes);
  const specs = useMemo(() => {
    const context = currentContext();
    return context ? addableTypes({ ...context, catalogue }) : [];
  }, [catalogue]);
  const entries = useMemo(() => entriesFor(text, { ...request, at }, specs), [text, request, at, specs]);
  const close = () => {
    useCanvas.getState().openPalette(null);
    useView.getState().set({ paletteOpen: false });
    useCanvas.getState().port?.focus();
  };
  const choose = (entry: Entry | undefined) => {
    if (!entry) return;
    close();
    entry.run();
  };
  useEffect(() => {
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  });
  const onKeyDown = (event: KeyboardEvent) => {
    event.stopPropagation();
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (by) setPlace(Math.max(0, Math.min(entries.length - 1, place + by)));
    else if (event.key === "Enter") choose(entries[place]);
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
  };
  const { pending } = request;
  const label = pending
    ? `Nodes with ${pending.loose.from === "output" ? "an input" : "an output"} for ${said(pending.loose.type)}`
    : "Find a node or command";
  const holder = document.querySelector("[role=application]")?.getBoundingClientRect();
  const left = Math.max(8, Math.min(request.screen.x - (holder?.x ?? 0), (holder?.width ?? 800) - 380));
  const top = Math.max(8, Math.min(request.screen.y - (holder?.y ?? 0), (holder?.height ?? 600) - 380));
  return (
    <>
      <div className={css.paletteShade} onPointerDown={close} />
      <div
        className={css.palette}
        style={{ left, top }}
        role="dialog"
        aria-label={label}
        onKeyDown={onKeyDown}
      >
        <input
          // biome-ignore lint/a11y/noAutofocus: opened to be typed into
          autoFocus
          role="combobox"
          aria-label={label}
          aria-expanded={true}
          aria-controls="palette-list"
          aria-activedescendant={entries[place] ? `palette-${place}` : undefined}
          placeholder={label}
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setPlace(0);
          }}
        />
        <div ref={list} id="palette-list" role="listbox" aria-label={label} className={css.paletteList}>
          {entries.map((entry, n) => (
            <div
              key={entry.id}
              id={`palette-${n}`}
              role="option"
              tabIndex={-1}
              aria-selected={n === place}
              className={css.paletteItem}
              onPointerMove={() => setPlace(n)}
              onClick={() => choose(entry)}
              onKeyDown={onKeyDown}
            >
              {entry.color && <span className={css.dot} style={{ background: entry.color }} />}
              <span>{entry.title}</span>
              <span className={css.paletteNote}>{entry.keys ?? entry.note}</span>
            </div>
          ))}
          {!entries.length && <p className={css.paletteNone}>Nothing is called that.</p>}
        </div>
      </div>
    </>
  );
}

/** Types that the workflow uses already are likely to be wanted again. */
function usedTypes(): string[] {
  const nodes = Object.values(currentContext()?.document.workflow.nodes ?? {});
  return [...new Set(nodes.map((node) => node.type))].filter((type) => !recent.includes(type));
}

function entriesFor(
  text: string,
  { at, pending }: PaletteRequest,
  specs: Parameters<typeof search>[0],
): Entry[] {
  const loose = pending?.loose ?? null;
  const nodes = search(specs, text, loose, [...recent, ...usedTypes()])
    .slice(0, SHOWN)
    .map(({ spec, socket }): Entry => {
      const type = spec.outputs[0]?.type ?? spec.inputs[0]?.type ?? "ANY";
      return {
        id: spec.id,
        title: socket ? `${spec.title} › ${socket}` : spec.title,
        note: spec.category,
        color: colorOf(type),
        run: () => {
          recent = [spec.id, ...recent.filter((id) => id !== spec.id)].slice(0, RECENT_MAX);
          addNodeOf(spec.id, at, pending);
        },
      };
    });
  const context = currentContext();
  if (loose || !context) return nodes;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = actions
    .filter((action) => action.id !== "palette" && (action.when?.(context) ?? true))
    .filter((action) => words.every((word) => `${action.title} ${action.group}`.toLowerCase().includes(word)))
    .map(
      (action): Entry => ({
        id: `action ${action.id}`,
        title: action.title,
        note: action.group,
        keys: shownKeys(action.keys),
        run: () => action.run(context),
      }),
    );
  return words.length ? [...nodes, ...found].slice(0, SHOWN) : [...nodes.slice(0, 30), ...found];
}
