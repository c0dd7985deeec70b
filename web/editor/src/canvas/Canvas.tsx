import {
  Background,
  BackgroundVariant,
  ReactFlow,
  ReactFlowProvider,
  useKeyPress,
  useStore,
  useStoreApi,
} from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { menuItems } from "../commands/menu";
import type { Point } from "../graph/types";
import { useCanvas } from "../state/canvasPort";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument } from "../state/tabs";
import { useScope, useView } from "../state/viewStore";
import { ContextMenu } from "../ui/Menu";
import { rowsFor } from "../widgets/registry";
import { Breadcrumb } from "./Breadcrumb";
import { ConnectDialog } from "./ConnectDialog";
import { ConnectionHint } from "./ConnectionHint";
import css from "./canvas.module.css";
import { EmptyHint } from "./EmptyHint";
import { FarLinks, MANY_LINKS } from "./FarLinks";
import { FrameView } from "./FrameView";
import { FAR, FarContext, TINY } from "./far";
import { FlowMaker, type FlowNode, type LinkEdge } from "./flow";
import { useConnecting } from "./interactions/useConnecting";
import { useCutting } from "./interactions/useCutting";
import { useKeyboardGraph } from "./interactions/useKeyboardGraph";
import { useMoving } from "./interactions/useMoving";
import { FIT, usePort } from "./interactions/usePort";
import { LinkView } from "./LinkView";
import { Minimap } from "./Minimap";
import { NodeView } from "./NodeView";
import { Palette } from "./Palette";
import { PortsDialog } from "./PortsDialog";
import { SelectionBar } from "./SelectionBar";
import { viewports } from "./viewports";

const NODE_TYPES = { node: NodeView, frame: FrameView };
const EDGE_TYPES = { link: LinkView };
const NOT_MOVING: ReadonlyMap<string, Point> = new Map();

/** The graph of the present scope. */
export function Canvas() {
  const key = useDocument((document) => document.key);
  const scope = useScope();
  const isGone = useDocument((document) => scope !== "" && !(scope in document.workflow.subgraphs));
  const leaveTo = useView((view) => view.leaveTo);
  useEffect(() => {
    if (isGone) leaveTo(0); // an undo took the subgraph that is looked at
  }, [isGone, leaveTo]);
  const isReady = useCatalogue((catalogue) => catalogue.state !== "loading");
  const message = useCatalogue((catalogue) => catalogue.message);
  if (!isReady) return <p className={css.waiting}>{message || "Reading the nodes…"}</p>;
  return (
    <ReactFlowProvider key={`${key} ${scope}`}>
      <Graph place={`${key} ${scope}`} />
    </ReactFlowProvider>
  );
}

/**
 * Sizes and sockets are computed. React Flow would measure each node that it mounts all the same, and lose the sockets of
 * nodes that are too far away to show any, and with them their links.
 */
function useNoMeasuring(): void {
  const store = useStoreApi();
  useState(() => store.setState({ updateNodeInternals: () => {} }));
}

function Graph({ place }: { place: string }) {
  const workflow = useDocument((document) => document.workflow);
  const readOnly = useDocument((document) => document.readOnly);
  const catalogue = useCatalogue((state) => state.nodes);
  const scope = useScope();
  const selection = useView((view) => view.selection);
  const selectedLinks = useView((view) => view.links);
  const minimap = useView((view) => view.minimap);
  const holder = useRef<HTMLDivElement>(null);
  const [maker] = useState(() => new FlowMaker(rowsFor));
  const [moving, setMoving] = useState(NOT_MOVING);
  const nodes = useMemo(
    () => maker.flowNodes(workflow, catalogue, scope, selection, moving),
    [maker, workflow, catalogue, scope, selection, moving],
  );
  const edges = useMemo(
    () => maker.flowEdges(workflow, catalogue, scope, selectedLinks),
    [maker, workflow, catalogue, scope, selectedLinks],
  );
  useNoMeasuring();
  const isFar = useStore((state) => state.transform[2] < FAR);
  const isTiny = useStore((state) => state.transform[2] < TINY);
  const isCutting = useKeyPress("Alt");
  const areMerged = isFar && !isCutting && edges.length > MANY_LINKS;
  const shownEdges = useMemo(
    () => (areMerged ? edges.filter((edge) => edge.selected) : edges),
    [areMerged, edges],
  );
  const [before] = useState(() => viewports.get(place));
  const port = usePort(nodes, holder, { place, fits: !before });
  const moves = useMoving(nodes, moving, setMoving);
  const links = useConnecting();
  const cutting = useCutting(holder);
  const onKeyDown = useKeyboardGraph(nodes);
  const count = Object.keys(workflow.nodes).length;
  const openPalette = useCallback(
    (event: React.MouseEvent) => {
      if (!(event.target instanceof Element) || !event.target.classList.contains("react-flow__pane")) return;
      const at = port.toGraph({ x: event.clientX, y: event.clientY });
      useCanvas.getState().openPalette({ at, screen: { x: event.clientX, y: event.clientY }, pending: null });
    },
    [port],
  );
  const pick = (_: unknown, node: FlowNode) => {
    if (!selection.has(node.id)) useView.getState().select([node.id]);
  };
  return (
    <ContextMenu items={menuItems()}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: what the pointer does here, keys do on the graph inside */}
      <div
        ref={holder}
        className={css.canvas}
        data-far={isFar}
        data-tiny={isTiny}
        onPointerMove={port.onPointerMove}
        {...cutting.handlers}
        onDoubleClick={openPalette}
        onDragOver={port.onDragOver}
        onDrop={port.onDrop}
      >
        <FarContext value={isFar}>
          <ReactFlow<FlowNode, LinkEdge>
            nodes={nodes}
            edges={shownEdges}
            nodeTypes={NODE_TYPES}
            edgeTypes={EDGE_TYPES}
            {...moves}
            {...links}
            aria-label={`Workflow graph, ${count} ${count === 1 ? "node" : "nodes"}. Arrow keys go from node to node, Enter into its fields, C connects.`}
            tabIndex={0}
            onKeyDown={onKeyDown}
            onNodeContextMenu={pick}
            {...(before ? { defaultViewport: before } : { fitView: true })}
            fitViewOptions={FIT}
            minZoom={0.02}
            maxZoom={2.5}
            onlyRenderVisibleElements
            nodesFocusable={false}
            edgesFocusable={false}
            elevateNodesOnSelect
            disableKeyboardA11y
            nodesDraggable={!readOnly}
            nodesConnectable={!readOnly}
            deleteKeyCode={null}
            panActivationKeyCode={null}
            selectionKeyCode="Shift"
            multiSelectionKeyCode={["Shift", "Meta", "Control"]}
            zoomOnDoubleClick={false}
            connectOnClick={false}
            connectionRadius={18}
            nodeDragThreshold={3}
            proOptions={{ hideAttribution: false }}
          >
            {areMerged && <FarLinks nodes={nodes} edges={edges} />}
            {!isFar && (
              <Background variant={BackgroundVariant.Dots} gap={24} size={1.5} color="var(--canvas-dot)" />
            )}
          </ReactFlow>
        </FarContext>
        <Breadcrumb />
        <SelectionBar />
        {minimap && nodes.length > 0 && <Minimap nodes={nodes} />}
        {count === 0 && scope === "" && <EmptyHint />}
        <ConnectionHint />
        {cutting.swipe.length > 1 && (
          <svg className={css.swipe} aria-hidden="true">
            <polyline points={cutting.swipe.map(({ x, y }) => `${x},${y}`).join(" ")} />
          </svg>
        )}
        <Palette />
        <ConnectDialog />
        <PortsDialog />
      </div>
    </ContextMenu>
  );
}
