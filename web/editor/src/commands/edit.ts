import { layered } from "../graph/arrange";
import { copyText, pasteText } from "../graph/clipboard";
import { all, disconnect, place, removeNodes, setFrame } from "../graph/commands";
import { bodyOf, isLink, linksOf } from "../graph/document";
import { passedThrough, specOf } from "../graph/links";
import type { Link, Workflow } from "../graph/types";
import { useCanvas } from "../state/canvasPort";
import { useView } from "../state/viewStore";
import type { Action, Context } from "./types";

const say = (text: string) => useView.getState().announce(text);

/** Return the selected nodes, without frames and ports. */
export function nodesOf({ document, scope, selection }: Context): string[] {
  const { nodes } = bodyOf(document.workflow, scope);
  return selection.filter((id) => id in nodes);
}

export function hasNodes(context: Context): boolean {
  return nodesOf(context).length > 0;
}

function remove(context: Context, heal: boolean): void {
  const { document, scope, catalogue, selection } = context;
  const { layout } = bodyOf(document.workflow, scope);
  const links = [...useView.getState().links].map((id) => {
    const dot = id.lastIndexOf(".");
    return { node: id.slice(0, dot), input: id.slice(dot + 1) };
  });
  const ids = nodesOf(context);
  const around = (workflow: Workflow, link: Link): Link | null => {
    const output = specOf(workflow, catalogue, scope, link[0]).outputs.find((o) => o.name === link[1]);
    const target = output && passedThrough(workflow, catalogue, scope, link[0], output);
    const value = target ? bodyOf(workflow, scope).nodes[target.node]?.inputs[target.input] : undefined;
    return isLink(value) ? value : null;
  };
  const frames = selection.filter((id) => id in (layout.frames ?? {}));
  const commands = [
    ...(links.length ? [disconnect(scope, links)] : []),
    ...(ids.length ? [heal ? removeNodes(scope, ids, around) : removeNodes(scope, ids)] : []),
    ...frames.map((id) => setFrame(scope, id, null, "delete frame")),
  ];
  const [first] = commands;
  if (!first) return;
  document.run(commands.length === 1 ? first : all(`delete ${commands.length} things`, commands));
  useView.getState().select([]);
  useView.getState().set({ links: new Set() });
  say(`Deleted: ${first.label}`);
}

async function copy({ document, scope, selection }: Context): Promise<void> {
  if (!selection.length) return;
  await navigator.clipboard.writeText(copyText(document.workflow, scope, selection));
  say(`Copied ${selection.length}`);
}

/** Paste text into the present scope; foreign text is left alone. Returns whether it was ours. */
export function paste(context: Context, text: string, keepIncoming: boolean): boolean {
  const { document, scope } = context;
  const at = useCanvas.getState().port?.pointer() ?? null;
  const pasting = pasteText(text, document.workflow, scope, at, keepIncoming);
  if (!pasting) return false;
  document.run(pasting.command);
  useView.getState().select(pasting.ids);
  say(`Done: ${pasting.command.label}`);
  return true;
}

async function pasteFromClipboard(context: Context, keepIncoming: boolean): Promise<void> {
  const text = await navigator.clipboard.readText().catch(() => "");
  if (!paste(context, text, keepIncoming)) say("There are no nodes on the clipboard.");
}

function duplicate(context: Context): void {
  const { document, scope, selection } = context;
  const text = copyText(document.workflow, scope, selection);
  const pasting = pasteText(text, document.workflow, scope, null, true);
  if (!pasting) return;
  document.run({ ...pasting.command, label: "duplicate" });
  useView.getState().select(pasting.ids);
}

/** Return the inputs of the selected nodes that are linked. */
function linkedInputs(context: Context): { node: string; input: string }[] {
  const { nodes } = bodyOf(context.document.workflow, context.scope);
  return nodesOf(context).flatMap((node) =>
    linksOf(nodes[node] ?? { type: "", inputs: {} }).map(([input]) => ({ node, input })),
  );
}

function arrange(context: Context): void {
  const { document, scope } = context;
  const boxes = useCanvas.getState().port?.boxes() ?? {};
  const chosen = nodesOf(context);
  const ids = chosen.length > 1 ? chosen : Object.keys(boxes);
  const picked = Object.fromEntries(ids.flatMap((id) => (boxes[id] ? [[id, boxes[id]] as const] : [])));
  const places = Object.values(picked);
  const origin = { x: Math.min(...places.map((b) => b.x)), y: Math.min(...places.map((b) => b.y)) };
  document.run(place(scope, layered(bodyOf(document.workflow, scope).nodes, picked, origin), {}, "arrange"));
}

export const editActions: readonly Action[] = [
  {
    id: "undo",
    title: "Undo",
    group: "Edit",
    keys: ["Mod+Z"],
    when: ({ document }) => document.history.past.length > 0,
    run: ({ document }) => {
      const label = document.undo();
      if (label) say(`Undone: ${label}`);
    },
  },
  {
    id: "redo",
    title: "Redo",
    group: "Edit",
    keys: ["Mod+Shift+Z", "Mod+Y"],
    when: ({ document }) => document.history.future.length > 0,
    run: ({ document }) => {
      const label = document.redo();
      if (label) say(`Redone: ${label}`);
    },
  },
  { id: "copy", title: "Copy", group: "Edit", keys: ["Mod+C"], when: hasNodes, run: (c) => void copy(c) },
  {
    id: "cut",
    title: "Cut",
    group: "Edit",
    keys: ["Mod+X"],
    when: hasNodes,
    run: (c) => void copy(c).then(() => remove(c, false)),
  },
  {
    id: "paste",
    title: "Paste",
    group: "Edit",
    keys: ["Mod+V"],
    run: (c) => void pasteFromClipboard(c, false),
  },
  {
    id: "pasteLinked",
    title: "Paste with incoming links",
    group: "Edit",
    keys: ["Mod+Shift+V"],
    run: (c) => void pasteFromClipboard(c, true),
  },
  { id: "duplicate", title: "Duplicate", group: "Edit", keys: ["Mod+D"], when: hasNodes, run: duplicate },
  {
    id: "delete",
    title: "Delete",
    group: "Edit",
    keys: ["Delete", "Backspace"],
    when: ({ selection }) => selection.length > 0 || useView.getState().links.size > 0,
    run: (c) => remove(c, false),
  },
  {
    id: "deleteHealing",
    title: "Delete and close the gap",
    group: "Edit",
    keys: ["Mod+Delete", "Mod+Backspace"],
    when: hasNodes,
    run: (c) => remove(c, true),
  },
  {
    id: "unlink",
    title: "Cut links into the selection",
    group: "Edit",
    keys: ["Alt+X"],
    when: (context) => linkedInputs(context).length > 0,
    run: (context) => {
      const targets = linkedInputs(context);
      context.document.run(disconnect(context.scope, targets));
      say(`Cut ${targets.length} ${targets.length === 1 ? "link" : "links"}`);
    },
  },
  {
    id: "selectAll",
    title: "Select all",
    group: "Edit",
    keys: ["Mod+A"],
    run: ({ document, scope }) => {
      const { nodes, layout } = bodyOf(document.workflow, scope);
      useView.getState().select([...Object.keys(nodes), ...Object.keys(layout.frames ?? {})]);
    },
  },
  { id: "arrange", title: "Arrange", group: "Arrange", keys: ["Shift+L"], run: arrange },
];
