import { ViewportPortal } from "@xyflow/react";
import { memo, useMemo } from "react";
import type { Point } from "../graph/types";
import css from "./canvas.module.css";
import type { FlowNode, LinkEdge } from "./flow";
import { linkPath } from "./linkPath";
import { colorOf } from "./typeLook";

/**
 * More links than this are drawn as one path for each colour while they are far away and less than a pixel wide: React
 * Flow works out the ends of every link that it draws at each step of a pan.
 */
export const MANY_LINKS = 300;

interface Props {
  nodes: readonly FlowNode[];
  edges: readonly LinkEdge[];
}

/** All links at once, behind the nodes; nothing in here listens. */
export const FarLinks = memo(function FarLinks({ nodes, edges }: Props) {
  const paths = useMemo(() => pathsByColor(nodes, edges), [nodes, edges]);
  return (
    <ViewportPortal>
      <svg className={css.farLinks} aria-hidden="true">
        {[...paths].map(([key, { stroke, dim, parts }]) => (
          <path key={key} d={parts.join("")} stroke={stroke} data-dim={dim} />
        ))}
      </svg>
    </ViewportPortal>
  );
});

interface OnePath {
  stroke: string;
  dim: boolean;
  parts: string[];
}

function pathsByColor(nodes: readonly FlowNode[], edges: readonly LinkEdge[]): Map<string, OnePath> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const paths = new Map<string, OnePath>();
  for (const { source, sourceHandle, target, targetHandle, data } of edges) {
    const from = socketPlace(byId.get(source), sourceHandle);
    const to = socketPlace(byId.get(target), targetHandle);
    if (!from || !to || !data) continue;
    const stroke = colorOf(data.type);
    const key = `${stroke} ${data.dim}`;
    const path = paths.get(key) ?? { stroke, dim: data.dim, parts: [] };
    path.parts.push(linkPath(from, data.bends, to));
    paths.set(key, path);
  }
  return paths;
}

function socketPlace(node: FlowNode | undefined, handle: string | null | undefined): Point | null {
  const found = node?.handles?.find((one) => one.id === handle);
  if (!node || !found) return null;
  const { x, y } = node.position;
  return { x: x + found.x + (found.width ?? 0) / 2, y: y + found.y + (found.height ?? 0) / 2 };
}
