import { type NodeProps, NodeResizer } from "@xyflow/react";
import { memo, useContext, useId, useRef } from "react";
import { all, clearInput, place, setInput, setLook } from "../graph/commands";
import { escapeValue, isLink, SUBGRAPH, unescapeValue } from "../graph/document";
import { GESTURE } from "../graph/history";
import type { LinkRow, WidgetRow } from "../graph/size";
import type { InputSpec, Json, Problem } from "../graph/types";
import { useNodeRun } from "../state/runStore";
import { useDocument, useDocumentStore } from "../state/tabs";
import { useRunId, useScope, useView } from "../state/viewStore";
import { widgetFor } from "../widgets/registry";
import css from "./canvas.module.css";
import { FarContext } from "./far";
import type { GraphNode, NodeData } from "./flow";
import { NodeBadges } from "./NodeBadges";
import { LiveWork, NodePictures } from "./NodePictures";
import { PassThrough } from "./PassThrough";
import { SocketView } from "./SocketView";
import { useNodeProblems } from "./useNodeProblems";

/** A node. Cheap on purpose: panning takes nodes out of the page and puts them back. */
export const NodeView = memo(function NodeView({ id, data, selected }: NodeProps<GraphNode>) {
  const isFar = useContext(FarContext);
  const key = useDocument((document) => document.key);
  const run = useNodeRun(key, useRunId(id));
  const problems = useNodeProblems(id);
  const { node, place, spec, shape } = data;
  const title = place.title || spec.title;
  const written = new Set(shape.rows.flatMap((row) => (row.kind === "widget" ? [row.input.name] : [])));
  const state = run?.state ?? "waiting";
  const isWrong = state === "failed" || problems.length > 0;
  const look = {
    className: css.node,
    style: { width: shape.width, height: shape.height },
    "data-selected": selected,
    "data-state": isWrong ? "failed" : state,
    "data-mode": node?.mode ?? "run",
    "data-unknown": spec.unknown ?? false,
    "data-color": place.color,
  };
  if (isFar)
    return (
      <div {...look}>
        <div className={`${css.far} node-grip`}>{title}</div>
      </div>
    );
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has looks of its own that cannot be undone
    <div
      {...look}
      role="group"
      aria-roledescription="node"
      aria-label={spoken(title, state, problems.length)}
    >
      {selected && node && !place.collapsed && <Resizer id={id} data={data} />}
      <NodeHead id={id} data={data} title={title} />
      <NodeBadges run={run} />
      {shape.rows.map((row) =>
        row.kind === "sockets" ? (
          <SocketRow key={`${row.input?.name}>${row.output?.name}`} row={row} problems={problems} />
        ) : (
          <FieldRow key={row.input.name} id={id} row={row} data={data} problems={problems} />
        ),
      )}
      {node?.mode === "bypass" && <PassThrough id={id} shape={shape} spec={spec} />}
      {shape.preview && <NodePictures id={id} run={run} box={shape.preview} />}
      {!shape.preview && <LiveWork run={run} />}
      {shape.sockets.map((socket) => (
        <SocketView
          key={`${socket.side}${socket.name}`}
          node={id}
          socket={socket}
          linked={node ? socket.side === "input" && isLink(node.inputs[socket.name]) : socket.name !== "+"}
          minor={written.has(socket.name) && socket.side === "input"}
        />
      ))}
      {problems.some((problem) => !problem.field) && (
        <p className={css.nodeProblem}>{problems.find((problem) => !problem.field)?.message}</p>
      )}
    </div>
  );
});

function spoken(title: string, state: string, problems: number): string {
  const wrong = problems ? `, ${problems} ${problems === 1 ? "problem" : "problems"}` : "";
  return `${title}${state === "waiting" ? "" : `, ${state}`}${wrong}`;
}

function NodeHead({ id, data: { node, place, spec }, title }: { id: string; data: NodeData; title: string }) {
  const enter = useView((view) => view.enter);
  const isGroup = node?.type.startsWith(SUBGRAPH) ?? false;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the key of "Open subgraph" does the same
    <div
      className={`${css.head} node-grip`}
      onDoubleClick={() => isGroup && node && enter({ scope: node.type.slice(SUBGRAPH.length), node: id })}
      title={
        spec.unknown && node
          ? `This server has no node “${node.type}”. Its values and links are kept.`
          : spec.doc
      }
    >
      <span className={css.title}>{title}</span>
      {spec.unknown && node && <span className={css.tag}>unknown</span>}
      {node?.mode && <span className={css.tag}>{node.mode === "mute" ? "muted" : "bypassed"}</span>}
      {isGroup && !place.collapsed && <span className={css.tag}>subgraph</span>}
    </div>
  );
}

function SocketRow({ row, problems }: { row: LinkRow; problems: readonly Problem[] }) {
  const problem = problems.find((one) => one.field && one.field === row.input?.name);
  return (
    <div
      className={css.sockets}
      style={{ top: row.y, height: row.height }}
      data-wrong={Boolean(problem)}
      title={problem?.message}
    >
      <span title={row.input?.help}>{row.input?.name}</span>
      <span>{row.output?.name}</span>
    </div>
  );
}

interface FieldProps {
  id: string;
  row: WidgetRow;
  data: NodeData;
  problems: readonly Problem[];
}

function FieldRow({ id, row, data, problems }: FieldProps) {
  const { input } = row;
  const controlId = useId();
  const written = data.node?.inputs[input.name];
  const problem = problems.find((one) => one.field === input.name);
  const isTall = row.rows > 1;
  return (
    <div
      className={`${css.field} ${isTall ? css.tall : ""} nodrag`}
      style={{ top: row.y, height: row.height }}
      data-wrong={Boolean(problem)}
      data-field={`${id}.${input.name}`}
      title={problem?.message ?? input.help}
    >
      {(!isTall || isLink(written)) && <label htmlFor={controlId}>{input.name}</label>}
      {isLink(written) ? (
        <output id={controlId} className={css.linked}>{`from ${written[0]}`}</output>
      ) : (
        <Control id={controlId} node={id} spec={input} written={written} />
      )}
    </div>
  );
}

interface ControlProps {
  id: string;
  node: string;
  spec: InputSpec;
  written: Json | undefined;
}

function Control({ id, node, spec, written }: ControlProps) {
  const document = useDocumentStore();
  const readOnly = useDocument((state) => state.readOnly);
  const scope = useScope();
  const kind = widgetFor(spec);
  if (!kind) return null;
  const Widget = kind.component;
  return (
    <div className={`${css.control} nopan nowheel`}>
      <Widget
        id={id}
        label={spec.name}
        spec={spec}
        place="node"
        value={unescapeValue(written ?? spec.default)}
        isSet={written !== undefined}
        disabled={readOnly}
        at={{ scope, node }}
        onChange={(value) => document.getState().run(setInput(scope, node, spec.name, escapeValue(value)))}
        onReset={() => document.getState().run(clearInput(scope, node, spec.name))}
      />
    </div>
  );
}

function Resizer({ id, data }: { id: string; data: NodeData }) {
  const document = useDocumentStore();
  const scope = useScope();
  const gesture = useRef("");
  return (
    <NodeResizer
      lineClassName={css.resizeLine ?? ""}
      handleClassName={css.resizeGrip ?? ""}
      minWidth={160}
      minHeight={data.shape.least}
      onResizeStart={() => {
        gesture.current = `${GESTURE}${id} ${performance.now()}`;
      }}
      onResize={(_, { x, y, width, height }) => {
        const size = { width: Math.round(width), height: Math.round(height) };
        const steps = [
          setLook(scope, [id], size, "resize"),
          place(scope, { [id]: { x: Math.round(x), y: Math.round(y) } }),
        ];
        document.getState().run({ ...all("resize node", steps), merge: gesture.current });
      }}
    />
  );
}
