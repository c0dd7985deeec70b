import type { NodeChange, OnEdgesChange, OnNodeDrag, OnNodesChange } from "@xyflow/react";
import { useMemo, useRef } from "react";
import { holds } from "../../graph/arrange";
import { place } from "../../graph/commands";
import type { Point } from "../../graph/types";
import { useDocumentStore } from "../../state/tabs";
import { useScope, useView } from "../../state/viewStore";
import { insertOnLink } from "../addNode";
import type { FlowNode, LinkEdge } from "../flow";

type Moving = ReadonlyMap<string, Point>;

/** Dragging and selecting. While nodes are dragged only the canvas knows; letting go is one command. */
export function useMoving(nodes: readonly FlowNode[], moving: Moving, setMoving: (moving: Moving) => void) {
  const document = useDocumentStore();
  const scope = useScope();
  const latest = useRef({ nodes, moving });
  latest.current = { nodes, moving };
  const carried = useRef<Map<string, string[]>>(new Map());

  return useMemo(() => {
    const onNodesChange: OnNodesChange<FlowNode> = (changes) => {
      const selected = changes.filter((change) => change.type === "select");
      if (selected.length) useView.getState().select(picked(useView.getState().selection, selected));
      const moved = changes.filter(
        (change) => change.type === "position" && change.position && change.dragging,
      );
      if (moved.length) setMoving(withCarried(latest.current, moved, carried.current));
    };
    const onEdgesChange: OnEdgesChange<LinkEdge> = (changes) => {
      const links = new Set(useView.getState().links);
      for (const change of changes) {
        if (change.type !== "select") continue;
        if (change.selected) links.add(change.id);
        else links.delete(change.id);
      }
      useView.getState().set({ links });
    };
    const onNodeDragStart: OnNodeDrag<FlowNode> = (_, __, dragged) => {
      carried.current = new Map(
        dragged.filter((n) => n.type === "frame").map((n) => [n.id, inside(n, latest.current.nodes)]),
      );
    };
    const onNodeDragStop: OnNodeDrag<FlowNode> = (_, node, dragged) => {
      const { moving: now, nodes: all } = latest.current;
      setMoving(new Map());
      if (!now.size) return;
      const isFrame = new Set(all.filter((n) => n.type === "frame").map((n) => n.id));
      const at = (wanted: boolean) =>
        Object.fromEntries(
          [...now].filter(([id]) => isFrame.has(id) === wanted).map(([id, p]) => [id, rounded(p)]),
        );
      document.getState().run(place(scope, at(false), at(true)));
      const link = dragged.length === 1 && node.type === "node" ? linkUnder(node.id) : null;
      if (link) insertOnLink(node.id, link);
    };
    return { onNodesChange, onEdgesChange, onNodeDragStart, onNodeDragStop };
  }, [document, scope, setMoving]);
}

function picked(before: ReadonlySet<string>, changes: readonly NodeChange<FlowNode>[]): Set<string> {
  const selection = new Set(before);
  for (const change of changes) {
    if (change.type !== "select") continue;
    if (change.selected) selection.add(change.id);
    else selection.delete(change.id);
  }
  return selection;
}

/** Frames take along what lay in them when the drag began. */
function withCarried(
  { nodes, moving }: { nodes: readonly FlowNode[]; moving: Moving },
  changes: readonly NodeChange<FlowNode>[],
  carried: ReadonlyMap<string, string[]>,
): Moving {
  const next = new Map(moving);
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const change of changes) {
    if (change.type !== "position" || !change.position) continue;
    const before = byId.get(change.id)?.position ?? change.position;
    for (const id of carried.get(change.id) ?? []) {
      const at = byId.get(id)?.position;
      if (at)
        next.set(id, { x: at.x + change.position.x - before.x, y: at.y + change.position.y - before.y });
    }
  }
  for (const change of changes)
    if (change.type === "position" && change.position) next.set(change.id, change.position);
  return next;
}

function inside(frame: FlowNode, nodes: readonly FlowNode[]): string[] {
  const box = boxOf(frame);
  return nodes.filter((node) => node.id !== frame.id && holds(box, boxOf(node))).map((node) => node.id);
}

function boxOf({ position, width = 0, height = 0 }: FlowNode) {
  return { ...position, width, height };
}

/** Return the link that a node lies on, as the page shows it; what is nearer to its middle is found first. */
function linkUnder(id: string): { node: string; input: string } | null {
  const element = window.document.querySelector(`.react-flow__node[data-id="${CSS.escape(id)}"]`);
  const box = element?.getBoundingClientRect();
  if (!box) return null;
  for (const across of [0.5, 0.3, 0.7]) {
    for (const down of [0.5, 0.3, 0.7, 0.1, 0.9]) {
      const found = window.document
        .elementsFromPoint(box.x + box.width * across, box.y + box.height * down)
        .map((one) => one.closest(".react-flow__edge")?.getAttribute("data-id"))
        .find((name) => name && !name.startsWith(`${id}.`));
      const dot = found?.lastIndexOf(".") ?? -1;
      if (found && dot > 0) return { node: found.slice(0, dot), input: found.slice(dot + 1) };
    }
  }
  return null;
}

function rounded({ x, y }: Point): Point {
  return { x: Math.round(x), y: Math.round(y) };
}
