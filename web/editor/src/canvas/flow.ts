/** From the workflow to what React Flow draws. What did not change stays the same object, so it is not drawn again. */

import { type Edge, type Node, type NodeHandle, Position } from "@xyflow/react";
import { around, type Boxes } from "../graph/arrange";
import { bodyOf, linksOf, OWN, SUBGRAPH } from "../graph/document";
import { outputType, specOf, subgraphSpec } from "../graph/links";
import { HEADER, portsSpec, type RowsFor, type Shape, shapeOf, WIDTH } from "../graph/size";
import type {
  Catalogue,
  Frame,
  NodeId,
  NodeLayout,
  NodeSpec,
  Point,
  Scope,
  Workflow,
  WorkflowNode,
} from "../graph/types";

export const OUT = "@out";
export const HIT = 24; // a socket's hit area in px; the dot is smaller

export type NodeData = { node: WorkflowNode | null; place: NodeLayout; spec: NodeSpec; shape: Shape };
export type FrameData = { frame: Frame };
export type LinkData = { type: string; bends: readonly Point[]; dim: boolean };
export type GraphNode = Node<NodeData, "node">;
export type FrameNode = Node<FrameData, "frame">;
export type FlowNode = GraphNode | FrameNode;
export type LinkEdge = Edge<LinkData, "link">;

const NOWHERE: NodeLayout = { x: 0, y: 0 };
const PORT_GAP = 120;

/** Remembers what was made last, by id. One for each canvas. */
export class FlowMaker {
  private nodes = new Map<string, { key: readonly unknown[]; made: FlowNode }>();
  private edges = new Map<string, { key: readonly unknown[]; made: LinkEdge }>();
  private specs = new Map<string, { text: string; spec: NodeSpec }>();

  constructor(private readonly rowsFor: RowsFor) {}

  /** Return the nodes, ports and frames of a scope. */
  flowNodes(
    workflow: Workflow,
    catalogue: Catalogue,
    scope: Scope,
    selection: ReadonlySet<string>,
    moving: ReadonlyMap<string, Point>,
  ): FlowNode[] {
    const { nodes, layout } = bodyOf(workflow, scope);
    const made: FlowNode[] = [];
    for (const [id, frame] of Object.entries(layout.frames ?? {})) {
      made.push(
        this.keep(id, [frame, selection.has(id), moving.get(id), scope], () =>
          frameNode(id, frame, selection.has(id), moving.get(id)),
        ),
      );
    }
    for (const [id, node] of Object.entries(nodes)) {
      const place = layout.nodes[id] ?? NOWHERE;
      const spec = this.stable(id, specOf(workflow, catalogue, scope, id), catalogue);
      const key = [node, place, spec, selection.has(id), moving.get(id), scope];
      made.push(
        this.keep(id, key, () =>
          this.graphNode(id, { node, place, spec }, selection.has(id), moving.get(id)),
        ),
      );
    }
    if (scope !== "") made.push(...this.ports(workflow, catalogue, scope, boxesOf(made)));
    return made;
  }

  /** Return the links of a scope. */
  flowEdges(
    workflow: Workflow,
    catalogue: Catalogue,
    scope: Scope,
    selected: ReadonlySet<string>,
  ): LinkEdge[] {
    const { nodes, layout } = bodyOf(workflow, scope);
    const made: LinkEdge[] = [];
    for (const [id, node] of Object.entries(nodes)) {
      for (const [input, link] of linksOf(node)) {
        const source = nodes[link[0]];
        if (!source && link[0] !== OWN) continue;
        const type = outputType(workflow, catalogue, scope, link) ?? "ANY";
        const bends = layout.nodes[id]?.bends?.[input];
        const dim = node.mode === "mute" || source?.mode === "mute";
        const name = `${id}.${input}`;
        const key = [link[0], link[1], type, bends, dim, selected.has(name), scope];
        made.push(
          this.keepEdge(name, key, () =>
            edge(name, link[0], link[1], id, input, { type, bends: bends ?? [], dim }, selected.has(name)),
          ),
        );
      }
    }
    for (const [port, link] of Object.entries(workflow.subgraphs[scope]?.outputs ?? {})) {
      const type = outputType(workflow, catalogue, scope, link) ?? "ANY";
      const name = `${OUT}.${port}`;
      const key = [link[0], link[1], type, selected.has(name), scope];
      made.push(
        this.keepEdge(name, key, () =>
          edge(name, link[0], link[1], OUT, port, { type, bends: [], dim: false }, selected.has(name)),
        ),
      );
    }
    return made;
  }

  private graphNode(
    id: string,
    parts: Omit<NodeData, "shape">,
    selected: boolean,
    moved: Point | undefined,
    draggable = true,
  ): GraphNode {
    const shape = shapeOf(parts.spec, parts.place, this.rowsFor);
    return {
      id,
      type: "node",
      position: moved ?? { x: parts.place.x, y: parts.place.y },
      width: shape.width,
      height: shape.height,
      measured: { width: shape.width, height: shape.height }, // so that nodes out of sight count when the view is fitted
      handles: shape.sockets.map(handle),
      data: { ...parts, shape },
      selected,
      draggable,
      dragHandle: ".node-grip",
    };
  }

  private ports(workflow: Workflow, catalogue: Catalogue, scope: Scope, boxes: Boxes): FlowNode[] {
    const spec = subgraphSpec(workflow, catalogue, scope);
    const inside = around(Object.values(boxes)) ?? { x: 0, y: 0, width: 0, height: 0 };
    const left = { x: inside.x - WIDTH - PORT_GAP, y: inside.y };
    const right = { x: inside.x + inside.width + PORT_GAP, y: inside.y };
    const inputs = this.stable(
      OWN,
      portsSpec(
        "inputs",
        spec.inputs.map(({ name, type }) => ({ name, type, list: false })),
      ),
      catalogue,
    );
    const outputs = this.stable(OUT, portsSpec("outputs", spec.outputs), catalogue);
    return [
      this.keep(OWN, [inputs, left.x, left.y, scope], () =>
        this.graphNode(OWN, { node: null, place: left, spec: inputs }, false, undefined, false),
      ),
      this.keep(OUT, [outputs, right.x, right.y, scope], () =>
        this.graphNode(OUT, { node: null, place: right, spec: outputs }, false, undefined, false),
      ),
    ];
  }

  /** Types that are made up anew each time (subgraphs, placeholders) keep their object while they say the same. */
  private stable(id: string, spec: NodeSpec, catalogue: Catalogue): NodeSpec {
    if (catalogue.get(spec.id) === spec) return spec;
    const text = JSON.stringify(spec);
    const known = this.specs.get(id);
    if (known?.text === text) return known.spec;
    this.specs.set(id, { text, spec });
    return spec;
  }

  private keep(id: string, key: readonly unknown[], make: () => FlowNode): FlowNode {
    const known = this.nodes.get(id);
    if (known && same(known.key, key)) return known.made;
    const made = make();
    this.nodes.set(id, { key, made });
    return made;
  }

  private keepEdge(id: string, key: readonly unknown[], make: () => LinkEdge): LinkEdge {
    const known = this.edges.get(id);
    if (known && same(known.key, key)) return known.made;
    const made = make();
    this.edges.set(id, { key, made });
    return made;
  }
}

/** Return the boxes of nodes, without frames. */
export function boxesOf(nodes: readonly FlowNode[]): Boxes {
  return Object.fromEntries(
    nodes.flatMap((node) =>
      node.type === "node"
        ? [
            [
              node.id,
              { ...node.position, width: node.width ?? WIDTH, height: node.height ?? HEADER },
            ] as const,
          ]
        : [],
    ),
  );
}

/** Split a socket's id: `i:name` or `o:name`. */
export function socketName(handle: string | null | undefined): string {
  return (handle ?? "").slice(2);
}

export function isInstance(node: WorkflowNode | null): boolean {
  return node?.type.startsWith(SUBGRAPH) ?? false;
}

function frameNode(id: string, frame: Frame, selected: boolean, moved: Point | undefined): FrameNode {
  return {
    id,
    type: "frame",
    position: moved ?? { x: frame.x, y: frame.y },
    width: frame.width,
    height: frame.height,
    measured: { width: frame.width, height: frame.height },
    data: { frame },
    selected,
    zIndex: -1,
    handles: [],
    dragHandle: ".frame-grip",
  };
}

function edge(
  id: string,
  source: NodeId,
  output: string,
  target: NodeId,
  input: string,
  data: LinkData,
  selected: boolean,
): LinkEdge {
  return {
    id,
    type: "link",
    source,
    sourceHandle: `o:${output}`,
    target,
    targetHandle: `i:${input}`,
    data,
    selected,
    reconnectable: "target",
  };
}

function handle(socket: Shape["sockets"][number]): NodeHandle {
  const isInput = socket.side === "input";
  return {
    id: `${isInput ? "i" : "o"}:${socket.name}`,
    type: isInput ? "target" : "source",
    position: isInput ? Position.Left : Position.Right,
    x: socket.x - HIT / 2,
    y: socket.y - HIT / 2,
    width: HIT,
    height: HIT,
  };
}

function same(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((value, place) => Object.is(value, b[place]));
}
