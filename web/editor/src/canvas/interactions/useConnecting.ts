import type {
  Connection,
  FinalConnectionState,
  HandleType,
  IsValidConnection,
  OnConnectStart,
  OnReconnect,
} from "@xyflow/react";
import { useReactFlow } from "@xyflow/react";
import { useMemo, useRef } from "react";
import { create } from "zustand";
import { currentContext } from "../../commands/registry";
import type { Context } from "../../commands/types";
import { connect, disconnect } from "../../graph/commands";
import { freshId, OWN } from "../../graph/document";
import { checkLink, outputType, specOf, type Target, type Verdict } from "../../graph/links";
import { search } from "../../graph/search";
import { addInputPort, addOutputPort } from "../../graph/subgraphs";
import type { Link } from "../../graph/types";
import { type Pending, useCanvas, useLoose } from "../../state/canvasPort";
import { useView } from "../../state/viewStore";
import { type LinkEdge, OUT, socketName } from "../flow";

interface Ends {
  from: Link;
  to: Target;
}

/** Judge a link between two sockets; ports of a subgraph are judged by what they do. */
export function judge(context: Context, { from, to }: Ends): Verdict {
  const { document, catalogue, scope } = context;
  const isNewPort = (from[0] === OWN && from[1] === "+") || to.node === OUT;
  if (isNewPort && !(from[0] === OWN && to.node === OUT)) return { ok: true, replaces: null };
  if (to.node === OUT)
    return { ok: false, reason: "An input port cannot lead straight to an output port.", converter: null };
  return checkLink(document.workflow, catalogue, scope, from, to);
}

/** Make a link that was judged good. One step. */
export function makeLink(context: Context, { from, to }: Ends): void {
  const { document, scope } = context;
  const subgraph = document.workflow.subgraphs[scope];
  if (from[0] === OWN && from[1] === "+") {
    document.run(addInputPort(scope, to, freshId(subgraph?.inputs ?? {}, to.input)));
  } else if (to.node === OUT) {
    document.run(addOutputPort(scope, from, freshId(subgraph?.outputs ?? {}, from[1])));
  } else document.run(connect(scope, from, to));
  useView.getState().announce(`Linked ${from[1]} to ${to.input}`);
}

/** Drawing links: what may go where, what happens where it is let go. */
export function useConnecting() {
  const flow = useReactFlow();
  const reconnected = useRef(false);
  return useMemo(() => {
    const isValidConnection: IsValidConnection<LinkEdge> = (connection) => {
      const context = currentContext();
      return context !== null && judge(context, endsOf(connection)).ok;
    };
    const onConnectStart: OnConnectStart = (_, { nodeId, handleId, handleType }) => {
      const pending = nodeId ? pendingOf(nodeId, handleId, handleType) : null;
      useLoose.setState({ loose: pending && nodeId ? { ...pending.loose, node: nodeId } : null });
    };
    const onConnectEnd = (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
      useLoose.setState({ loose: null });
      const context = currentContext();
      if (!context || !state.fromHandle || reconnected.current) return;
      const pending = pendingOf(state.fromHandle.nodeId, state.fromHandle.id, state.fromHandle.type);
      if (!pending) return;
      const point = "changedTouches" in event ? event.changedTouches[0] : event;
      if (!point) return;
      const screen = { x: point.clientX, y: point.clientY };
      const ends = state.toHandle
        ? endsOf(between(state.fromHandle, state.toHandle))
        : endsOnNode(context, pending, screen);
      if (!ends) {
        const isOnPane = window.document.elementFromPoint(screen.x, screen.y)?.closest(".react-flow__pane");
        if (isOnPane)
          useCanvas.getState().openPalette({ at: flow.screenToFlowPosition(screen), screen, pending });
        return;
      }
      const verdict = judge(context, ends);
      if (verdict.ok) return makeLink(context, ends);
      useView.getState().announce(`Not linked: ${verdict.reason}`);
      refused(ends, verdict, screen);
    };
    const onReconnectStart = () => {
      reconnected.current = true;
    };
    const onReconnect: OnReconnect<LinkEdge> = (edge, connection) => {
      const context = currentContext();
      if (!context) return;
      const old = endsOf(edge);
      const ends = endsOf(connection);
      if (old.to.node === ends.to.node && old.to.input === ends.to.input) return;
      context.document.run({
        label: `move link to ${ends.to.input}`,
        apply: (workflow) => {
          disconnect(context.scope, [old.to]).apply(workflow);
          connect(context.scope, ends.from, ends.to).apply(workflow);
        },
      });
    };
    const onReconnectEnd = (_: unknown, edge: LinkEdge, __: HandleType, state: FinalConnectionState) => {
      setTimeout(() => {
        reconnected.current = false; // after onConnectEnd, which the same release calls
      });
      const context = currentContext();
      if (context && !state.toHandle) context.document.run(disconnect(context.scope, [endsOf(edge).to]));
    };
    return { isValidConnection, onConnectStart, onConnectEnd, onReconnectStart, onReconnect, onReconnectEnd };
  }, [flow]);
}

type Ended = Pick<Connection, "source" | "target"> & {
  sourceHandle?: string | null;
  targetHandle?: string | null;
};

export function endsOf({ source, sourceHandle, target, targetHandle }: Ended): Ends {
  return { from: [source, socketName(sourceHandle)], to: { node: target, input: socketName(targetHandle) } };
}

type Grip = NonNullable<FinalConnectionState["fromHandle"]>;

function between(one: Grip, other: Grip): Ended {
  const [source, target] = one.type === "source" ? [one, other] : [other, one];
  return {
    source: source.nodeId,
    sourceHandle: source.id ?? null,
    target: target.nodeId,
    targetHandle: target.id ?? null,
  };
}

/** Describe the loose end of a link that starts at a socket. */
export function pendingOf(
  node: string,
  handle: string | null | undefined,
  side: HandleType | null,
): Pending | null {
  const context = currentContext();
  if (!context) return null;
  const { document, catalogue, scope } = context;
  const name = socketName(handle);
  if (side === "source") {
    const type = outputType(document.workflow, catalogue, scope, [node, name]) ?? "ANY";
    return { loose: { from: "output", type, name }, from: { side: "output", link: [node, name] } };
  }
  const known = node === OUT ? null : specOf(document.workflow, catalogue, scope, node);
  const type = known?.inputs.find((input) => input.name === name)?.type ?? "ANY";
  return { loose: { from: "input", type, name }, from: { side: "input", target: { node, input: name } } };
}

/** A link let go on a node's body goes to its best socket. */
function endsOnNode(context: Context, pending: Pending, screen: { x: number; y: number }): Ends | null {
  const element = window.document.elementFromPoint(screen.x, screen.y)?.closest(".react-flow__node");
  const id = element?.getAttribute("data-id");
  if (!id || !element?.classList.contains("react-flow__node-node") || id === OWN || id === OUT) return null;
  const spec = specOf(context.document.workflow, context.catalogue, context.scope, id);
  const { from } = pending;
  const hit = search([spec], "", pending.loose)[0]?.socket;
  const first = from.side === "output" ? spec.inputs[0]?.name : spec.outputs[0]?.name;
  const socket = hit ?? first;
  if (!socket) return null;
  return from.side === "output"
    ? { from: from.link, to: { node: id, input: socket } }
    : { from: [id, socket], to: from.target };
}

/** Keep the reason in view where the hand is, with the converter that would help. */
function refused(
  ends: Ends,
  verdict: Extract<Verdict, { ok: false }>,
  screen: { x: number; y: number },
): void {
  useRefusal.setState({ refusal: { ends, verdict, screen } });
}

export interface Refusal {
  readonly ends: Ends;
  readonly verdict: Extract<Verdict, { ok: false }>;
  readonly screen: { x: number; y: number };
}

export const useRefusal = create<{ readonly refusal: Refusal | null }>(() => ({ refusal: null }));
