import { align, around, type Edge } from "../graph/arrange";
import { all, place, setFrame, setLook, setMode } from "../graph/commands";
import { bodyOf, freshId, SUBGRAPH } from "../graph/document";
import { freshGroup, group, ungroup } from "../graph/subgraphs";
import type { Frame, Mode } from "../graph/types";
import { useCanvas } from "../state/canvasPort";
import { useView } from "../state/viewStore";
import { hasNodes, nodesOf } from "./edit";
import type { Action, Context } from "./types";

const FRAME_ROOM = 24;
const FRAME_TITLE = 36;

function toggleMode(context: Context, mode: Mode): void {
  const { document, scope } = context;
  const ids = nodesOf(context);
  const { nodes } = bodyOf(document.workflow, scope);
  const isOn = ids.every((id) => nodes[id]?.mode === mode);
  document.run(setMode(scope, ids, isOn ? "run" : mode));
}

function toggleCollapsed(context: Context): void {
  const { document, scope } = context;
  const ids = nodesOf(context);
  const { layout } = bodyOf(document.workflow, scope);
  const isOn = ids.every((id) => layout.nodes[id]?.collapsed);
  document.run(setLook(scope, ids, { collapsed: !isOn }, isOn ? "unfold" : "fold"));
}

function frame(context: Context): void {
  const { document, scope } = context;
  const boxes = useCanvas.getState().port?.boxes() ?? {};
  const hull = around(nodesOf(context).flatMap((id) => boxes[id] ?? []));
  if (!hull) return;
  const box: Frame = {
    x: hull.x - FRAME_ROOM,
    y: hull.y - FRAME_ROOM - FRAME_TITLE,
    width: hull.width + FRAME_ROOM * 2,
    height: hull.height + FRAME_ROOM * 2 + FRAME_TITLE,
    title: "Frame",
  };
  const id = freshId(bodyOf(document.workflow, scope).layout.frames ?? {}, "frame");
  document.run(setFrame(scope, id, box, "add frame"));
}

function groupSelection(context: Context): void {
  const { document, scope } = context;
  const name = freshGroup(document.workflow);
  const instance = freshId(bodyOf(document.workflow, scope).nodes, name);
  document.run(group(scope, nodesOf(context), name, instance));
  useView.getState().select([instance]);
}

function isGroup(context: Context): boolean {
  const [id] = nodesOf(context);
  return Boolean(id && bodyOf(context.document.workflow, context.scope).nodes[id]?.type.startsWith(SUBGRAPH));
}

/** The subgraph that is selected, else the one that is open. */
function groupOf(context: Context): string {
  const [id] = nodesOf(context);
  const type = id ? bodyOf(context.document.workflow, context.scope).nodes[id]?.type : undefined;
  return type?.startsWith(SUBGRAPH) ? type.slice(SUBGRAPH.length) : context.scope;
}

function enterGroup(context: Context): void {
  const [id] = nodesOf(context);
  const type = id ? bodyOf(context.document.workflow, context.scope).nodes[id]?.type : undefined;
  const name = type?.startsWith(SUBGRAPH) ? type.slice(SUBGRAPH.length) : "";
  if (id && name in context.document.workflow.subgraphs) useView.getState().enter({ scope: name, node: id });
}

function alignTo(edge: Edge, title: string, keys?: string): Action {
  return {
    id: `align-${edge}`,
    title,
    group: "Arrange",
    ...(keys ? { keys: [keys] } : {}),
    when: (context) => nodesOf(context).length > 1,
    run: (context) => {
      const boxes = useCanvas.getState().port?.boxes() ?? {};
      const ids = nodesOf(context);
      const picked = Object.fromEntries(ids.flatMap((id) => (boxes[id] ? [[id, boxes[id]] as const] : [])));
      context.document.run(place(context.scope, align(picked, edge), {}, title.toLowerCase()));
    },
  };
}

export const nodeActions: readonly Action[] = [
  {
    id: "mute",
    title: "Mute",
    group: "Node",
    keys: ["Mod+M"],
    when: hasNodes,
    run: (context) => toggleMode(context, "mute"),
  },
  {
    id: "bypass",
    title: "Bypass",
    group: "Node",
    keys: ["Mod+B"],
    when: hasNodes,
    run: (context) => toggleMode(context, "bypass"),
  },
  { id: "collapse", title: "Fold", group: "Node", keys: ["Alt+C"], when: hasNodes, run: toggleCollapsed },
  { id: "frame", title: "Put a frame around", group: "Node", keys: ["Mod+G"], when: hasNodes, run: frame },
  {
    id: "group",
    title: "Make a subgraph",
    group: "Node",
    keys: ["Mod+Shift+G"],
    when: hasNodes,
    run: groupSelection,
  },
  {
    id: "ungroup",
    title: "Dissolve subgraph",
    group: "Node",
    keys: ["Mod+Alt+G"],
    when: isGroup,
    run: (context) => {
      const ids = nodesOf(context);
      context.document.run(
        all(
          "ungroup",
          ids.map((id) => ungroup(context.scope, id)),
        ),
      );
      useView.getState().select([]);
    },
  },
  { id: "enter", title: "Open subgraph", group: "Node", keys: ["Tab"], when: isGroup, run: enterGroup },
  {
    id: "ports",
    title: "Edit the ports of a subgraph",
    group: "Node",
    when: (context) => context.scope !== "" || isGroup(context),
    run: (context) => useCanvas.setState({ ports: groupOf(context) }),
  },
  {
    id: "leave",
    title: "Leave subgraph",
    group: "View",
    keys: ["Mod+ArrowUp"],
    when: () => useView.getState().path.length > 0,
    run: () => useView.getState().leaveTo(useView.getState().path.length - 1),
  },
  {
    id: "connect",
    title: "Connect to…",
    group: "Node",
    keys: ["C"],
    when: (context) => nodesOf(context).length === 1,
    run: (context) => useCanvas.setState({ connecting: nodesOf(context)[0] ?? null }),
  },
  alignTo("left", "Align left", "Shift+A"),
  alignTo("right", "Align right"),
  alignTo("top", "Align top", "Shift+T"),
  alignTo("bottom", "Align bottom"),
  alignTo("across", "Spread across"),
  alignTo("down", "Spread down"),
];
