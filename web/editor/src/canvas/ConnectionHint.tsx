import { useConnection } from "@xyflow/react";
import { useEffect } from "react";
import { currentContext } from "../commands/registry";
import { addNodes, all, connect } from "../graph/commands";
import { bodyOf, freshId } from "../graph/document";
import { said } from "../graph/links";
import { useLoose } from "../state/canvasPort";
import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import css from "./canvas.module.css";
import { endsOf, judge, type Refusal, useRefusal } from "./interactions/useConnecting";

const STAYS_MS = 6000;

/** Beside the pointer while a link is drawn: what it carries, or why it may not go there. */
export function ConnectionHint() {
  const loose = useLoose((state) => state.loose);
  const refusal = useRefusal((state) => state.refusal);
  useEffect(() => {
    if (!refusal) return;
    const close = () => useRefusal.setState({ refusal: null });
    const onPress = (event: PointerEvent) => {
      const isInside = event.target instanceof Element && event.target.closest(`.${css.hint}`);
      if (!isInside) close();
    };
    window.addEventListener("pointerdown", onPress, true);
    // An offer waits for an answer; a mere reason goes by itself.
    const timer = refusal.verdict.converter ? undefined : setTimeout(close, STAYS_MS);
    return () => {
      window.removeEventListener("pointerdown", onPress, true);
      clearTimeout(timer);
    };
  }, [refusal]);
  useEffect(() => {
    if (loose) useRefusal.setState({ refusal: null });
  }, [loose]);
  if (loose) return <Drawing type={loose.type} />;
  return refusal ? <Refused refusal={refusal} /> : null;
}

function Drawing({ type }: { type: string }) {
  const { pointer, reason } = useConnection((state) => ({
    pointer: state.inProgress ? { x: Math.round(state.pointer.x), y: Math.round(state.pointer.y) } : null,
    reason: state.inProgress && state.toHandle && state.isValid === false ? reasonOf(state) : "",
  }));
  if (!pointer) return null;
  return (
    <div
      className={css.hint}
      data-wrong={reason !== ""}
      style={{ left: pointer.x + 16, top: pointer.y + 16 }}
    >
      {reason || said(type)}
    </div>
  );
}

type Grip = { nodeId: string; id?: string | null; type: string };

function reasonOf({ fromHandle, toHandle }: { fromHandle: Grip | null; toHandle: Grip | null }): string {
  const context = currentContext();
  if (!context || !fromHandle || !toHandle) return "";
  if (fromHandle.type === toHandle.type) return "A link goes from an output to an input.";
  const [source, target] = fromHandle.type === "source" ? [fromHandle, toHandle] : [toHandle, fromHandle];
  const ends = endsOf({
    source: source.nodeId,
    sourceHandle: source.id ?? null,
    target: target.nodeId,
    targetHandle: target.id ?? null,
  });
  const verdict = judge(context, ends);
  return verdict.ok ? "" : verdict.reason;
}

function Refused({ refusal: { ends, verdict, screen } }: { refusal: Refusal }) {
  const box = document.querySelector("[role=application]")?.getBoundingClientRect();
  const { converter } = verdict;
  const close = () => useRefusal.setState({ refusal: null });
  return (
    <div
      className={css.hint}
      data-wrong={true}
      style={{ left: screen.x - (box?.x ?? 0) + 12, top: screen.y - (box?.y ?? 0) + 12 }}
    >
      <p>{verdict.reason}</p>
      {converter && (
        <Button
          onClick={() => {
            convert(ends, converter);
            close();
          }}
        >
          Insert “{converter.spec.title}”
        </Button>
      )}
    </div>
  );
}

/** Put a converter between two sockets: one step. */
function convert(
  { from, to }: Refusal["ends"],
  converter: NonNullable<Refusal["verdict"]["converter"]>,
): void {
  const context = currentContext();
  if (!context) return;
  const { document, scope } = context;
  const { nodes, layout } = bodyOf(document.workflow, scope);
  const id = freshId(nodes, converter.spec.id);
  const a = layout.nodes[from[0]] ?? { x: 0, y: 0 };
  const b = layout.nodes[to.node] ?? { x: 0, y: 0 };
  const place = { x: Math.round((a.x + b.x) / 2), y: Math.round((a.y + b.y) / 2) };
  document.run(
    all(`insert ${converter.spec.title}`, [
      addNodes(scope, [{ id, node: { type: converter.spec.id, inputs: {} }, place }]),
      connect(scope, from, { node: id, input: converter.input }),
      connect(scope, [id, converter.output], to),
    ]),
  );
  useView.getState().select([id]);
}
