import { type KeyboardEvent, useCallback, useRef } from "react";
import { place } from "../../graph/commands";
import { linksOf } from "../../graph/document";
import type { Point } from "../../graph/types";
import { useCanvas } from "../../state/canvasPort";
import { useDocumentStore } from "../../state/tabs";
import { useScope, useView } from "../../state/viewStore";
import type { FlowNode, GraphNode } from "../flow";

const STEP = 8;
const ARROWS: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

/**
 * The graph without a pointer: arrows go to the nearest node that way, Alt+arrows move the selection (Shift: ten
 * times as far), `[` and `]` follow links, Enter goes into the node's fields and Escape back.
 */
export function useKeyboardGraph(nodes: readonly FlowNode[]) {
  const document = useDocumentStore();
  const scope = useScope();
  const latest = useRef(nodes);
  latest.current = nodes;
  return useCallback(
    (event: KeyboardEvent<HTMLDivElement>) => {
      const graph = latest.current.filter((node): node is GraphNode => node.type === "node");
      const { selection, select, announce, reveal } = useView.getState();
      const [id] = selection;
      const here = graph.find((node) => node.id === id);
      const isInside = event.target !== event.currentTarget;
      if (event.key === "Escape") {
        if (isInside) event.currentTarget.focus();
        else select([]);
        return;
      }
      if (isInside || event.ctrlKey || event.metaKey) return;
      const way = ARROWS[event.key];
      if (way && event.altKey && selection.size) {
        event.preventDefault();
        const by = STEP * (event.shiftKey ? 10 : 1);
        const moved = graph.filter((node) => selection.has(node.id));
        const to = moved.map(
          (n) => [n.id, { x: n.position.x + way.x * by, y: n.position.y + way.y * by }] as const,
        );
        document
          .getState()
          .run({ ...place(scope, Object.fromEntries(to)), merge: `nudge ${[...selection]}` });
        return;
      }
      const next = way ? toward(graph, here, way) : along(graph, here, event.key);
      if (next) {
        event.preventDefault();
        select([next.id]);
        announce(spokenNode(next));
        if (useView.getState().path.length === 0) reveal(next.id);
      } else if (event.key === "Enter" && here) {
        event.preventDefault();
        const field = event.currentTarget.querySelector<HTMLElement>(
          `.react-flow__node[data-id="${CSS.escape(here.id)}"] :is(input, textarea, select, button)`,
        );
        field?.focus();
      } else if (event.key === "Enter" && !here) useCanvas.getState().port?.fit();
    },
    [document, scope],
  );
}

function toward(nodes: readonly GraphNode[], from: GraphNode | undefined, way: Point): GraphNode | undefined {
  if (!from) return nodes[0];
  const start = middle(from);
  let best: GraphNode | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const node of nodes) {
    if (node.id === from.id) continue;
    const at = middle(node);
    const ahead = (at.x - start.x) * way.x + (at.y - start.y) * way.y;
    const aside = Math.abs((at.x - start.x) * way.y) + Math.abs((at.y - start.y) * way.x);
    const cost = ahead + aside * 2;
    if (ahead > 0 && cost < least) {
      best = node;
      least = cost;
    }
  }
  return best;
}

function along(nodes: readonly GraphNode[], from: GraphNode | undefined, key: string): GraphNode | undefined {
  if (!from?.data.node) return undefined;
  if (key === "[") {
    const [first] = linksOf(from.data.node);
    return nodes.find((node) => node.id === first?.[1][0]);
  }
  if (key !== "]") return undefined;
  return nodes.find(
    (node) => node.data.node && linksOf(node.data.node).some(([, link]) => link[0] === from.id),
  );
}

function middle({ position, width = 0, height = 0 }: GraphNode): Point {
  return { x: position.x + width / 2, y: position.y + height / 2 };
}

function spokenNode({ data: { node, place: at, spec } }: GraphNode): string {
  const links = node ? linksOf(node).map(([input, link]) => `${input} from ${link[0]}`) : [];
  return [`${at.title || spec.title}, node`, ...links].join(", ");
}
