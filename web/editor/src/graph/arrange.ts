/** Where nodes go: alignment, layers from left to right, free places. Pure geometry. */

import { linksOf } from "./document";
import type { Box, NodeId, Point, WorkflowNode } from "./types";

export type Edge = "left" | "right" | "top" | "bottom" | "center" | "middle" | "across" | "down";

const GAP_X = 80;
const GAP_Y = 32;
const SWEEPS = 4;

export type Boxes = Readonly<Record<NodeId, Box>>;

/** Return the box around boxes; null for none. */
export function around(boxes: readonly Box[]): Box | null {
  if (!boxes.length) return null;
  const x = Math.min(...boxes.map((b) => b.x));
  const y = Math.min(...boxes.map((b) => b.y));
  const right = Math.max(...boxes.map((b) => b.x + b.width));
  const bottom = Math.max(...boxes.map((b) => b.y + b.height));
  return { x, y, width: right - x, height: bottom - y };
}

/** Say whether `inner` lies in `outer`. */
export function holds(outer: Box, inner: Box): boolean {
  return (
    inner.x >= outer.x &&
    inner.y >= outer.y &&
    inner.x + inner.width <= outer.x + outer.width &&
    inner.y + inner.height <= outer.y + outer.height
  );
}

/** Line boxes up along an edge, or spread them evenly `across` or `down`. */
export function align(boxes: Boxes, edge: Edge): Record<NodeId, Point> {
  const hull = around(Object.values(boxes));
  if (!hull) return {};
  if (edge === "across") return spread(boxes, "x", "width");
  if (edge === "down") return spread(boxes, "y", "height");
  const moved = (box: Box): Point => {
    switch (edge) {
      case "left":
        return { x: hull.x, y: box.y };
      case "right":
        return { x: hull.x + hull.width - box.width, y: box.y };
      case "center":
        return { x: hull.x + (hull.width - box.width) / 2, y: box.y };
      case "top":
        return { x: box.x, y: hull.y };
      case "bottom":
        return { x: box.x, y: hull.y + hull.height - box.height };
      default:
        return { x: box.x, y: hull.y + (hull.height - box.height) / 2 };
    }
  };
  return Object.fromEntries(Object.entries(boxes).map(([id, box]) => [id, moved(box)]));
}

function spread(boxes: Boxes, axis: "x" | "y", size: "width" | "height"): Record<NodeId, Point> {
  const order = Object.entries(boxes).sort(([, a], [, b]) => a[axis] - b[axis]);
  const first = order[0]?.[1][axis] ?? 0;
  const end = Math.max(...order.map(([, box]) => box[axis] + box[size]));
  const used = order.reduce((sum, [, box]) => sum + box[size], 0);
  const gap = Math.max(GAP_Y / 2, (end - first - used) / Math.max(1, order.length - 1));
  let at = first;
  const found: Record<NodeId, Point> = {};
  for (const [id, box] of order) {
    found[id] = { x: box.x, y: box.y, [axis]: Math.round(at) };
    at += box[size] + gap;
  }
  return found;
}

/**
 * Lay nodes out from left to right: each stands right of all it needs (longest path), and within its column near the
 * middle of its neighbours (barycentres, as in Sugiyama, Tagawa and Toda 1981).
 */
export function layered(
  nodes: Readonly<Record<NodeId, WorkflowNode>>,
  boxes: Boxes,
  origin: Point,
): Record<NodeId, Point> {
  const ids = Object.keys(nodes).filter((id) => boxes[id]);
  const sources = new Map(ids.map((id) => [id, sourcesOf(nodes, id, boxes)]));
  const users = new Map<NodeId, NodeId[]>(ids.map((id) => [id, []]));
  for (const [id, from] of sources) for (const source of from) users.get(source)?.push(id);
  const columns = intoColumns(ids, sources, users);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    sortColumns(columns, sweep % 2 ? users : sources, sweep % 2 === 1);
  }
  const found: Record<NodeId, Point> = {};
  let x = origin.x;
  const heights = columns.map((column) =>
    column.reduce((sum, id) => sum + (boxes[id]?.height ?? 0) + GAP_Y, -GAP_Y),
  );
  const tallest = Math.max(0, ...heights);
  columns.forEach((column, place) => {
    let y = origin.y + (tallest - (heights[place] ?? 0)) / 2;
    for (const id of column) {
      found[id] = { x: Math.round(x), y: Math.round(y) };
      y += (boxes[id]?.height ?? 0) + GAP_Y;
    }
    x += Math.max(0, ...column.map((id) => boxes[id]?.width ?? 0)) + GAP_X;
  });
  return found;
}

function sourcesOf(nodes: Readonly<Record<NodeId, WorkflowNode>>, id: NodeId, boxes: Boxes): NodeId[] {
  const node = nodes[id];
  return node ? [...new Set(linksOf(node).map(([, link]) => link[0]))].filter((source) => boxes[source]) : [];
}

function intoColumns(
  ids: NodeId[],
  sources: Map<NodeId, NodeId[]>,
  users: Map<NodeId, NodeId[]>,
): NodeId[][] {
  const depth = new Map<NodeId, number>();
  const waiting = new Map(ids.map((id) => [id, sources.get(id)?.length ?? 0]));
  const ready = ids.filter((id) => !waiting.get(id));
  for (let id = ready.shift(); id !== undefined; id = ready.shift()) {
    depth.set(id, Math.max(0, ...(sources.get(id) ?? []).map((source) => (depth.get(source) ?? 0) + 1)));
    for (const user of users.get(id) ?? []) {
      waiting.set(user, (waiting.get(user) ?? 1) - 1);
      if (!waiting.get(user)) ready.push(user);
    }
  }
  // A source stands just left of its nearest user, so that a late prompt is not at the far left.
  for (const id of [...ids].sort((a, b) => (depth.get(b) ?? 0) - (depth.get(a) ?? 0))) {
    const near = Math.min(...(users.get(id) ?? []).map((user) => (depth.get(user) ?? 0) - 1));
    if (Number.isFinite(near) && !sources.get(id)?.length) depth.set(id, Math.max(0, near));
  }
  const columns: NodeId[][] = [];
  for (const id of ids) {
    const column = depth.get(id) ?? 0;
    while (columns.length <= column) columns.push([]);
    columns[column]?.push(id);
  }
  return columns.filter((column) => column.length);
}

function sortColumns(columns: NodeId[][], neighbours: Map<NodeId, NodeId[]>, backwards: boolean): void {
  const rank = new Map<NodeId, number>();
  const order = backwards ? [...columns].reverse() : columns;
  for (const column of order) {
    const wish = new Map(
      column.map((id, place) => {
        const ranks = (neighbours.get(id) ?? []).flatMap((other) => rank.get(other) ?? []);
        return [
          id,
          ranks.length ? ranks.reduce((sum, r) => sum + r, 0) / ranks.length : place / column.length,
        ];
      }),
    );
    column.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
    column.forEach((id, place) => {
      rank.set(id, (place + 0.5) / column.length);
    });
  }
}

/** Return a place near `at` where a box of this size covers nothing. */
export function freePlace(boxes: readonly Box[], at: Point, size: { width: number; height: number }): Point {
  const place = { ...at };
  for (let tries = 0; tries < 50; tries += 1) {
    const hit = boxes.find((box) => overlaps(box, { ...place, ...size }));
    if (!hit) break;
    place.y = hit.y + hit.height + GAP_Y / 2;
  }
  return place;
}

/** Say whether two boxes share an area. */
export function overlaps(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
