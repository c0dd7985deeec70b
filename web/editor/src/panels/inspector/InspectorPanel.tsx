/** The selected node: fields, what it shows, how its last run went, help. */

import { retype, setLook, setMode } from "../../graph/commands";
import { bodyOf } from "../../graph/document";
import { isWritable, said, specOf } from "../../graph/links";
import { replacements } from "../../graph/search";
import type { Mode, NodeId, NodeSpec, Scope } from "../../graph/types";
import { useCatalogue } from "../../state/catalogueStore";
import { useNodeRun } from "../../state/runStore";
import type { NodeRun } from "../../state/runs";
import { useDocument, useDocumentStore } from "../../state/tabs";
import { useScope, useView } from "../../state/viewStore";
import { Select, TextField } from "../../ui/Field";
import { inline, Markdown } from "../../ui/Markdown";
import { Field } from "../../widgets/Field";
import { LivePlot } from "../../widgets/livePlot/LivePlot";
import { ShownAll } from "../../widgets/shown/ShownAll";
import { shownBy } from "../../widgets/shown/shown";
import { useProblems } from "../problems/useProblems";
import { nodeSaid } from "../run/said";
import styles from "./inspector.module.css";
import { WorkflowPage } from "./WorkflowPage";

const MODES: readonly Mode[] = ["run", "mute", "bypass"];

export function InspectorPanel() {
  const scope = useScope();
  const selection = useView((view) => view.selection);
  const workflow = useDocument((d) => d.workflow);
  const catalogue = useCatalogue((state) => state.nodes);
  const { nodes } = bodyOf(workflow, scope);
  const chosen = [...selection].filter((id) => id in nodes);
  const [first] = chosen;
  if (first === undefined) return <WorkflowPage />;
  if (chosen.length > 1) return <p className={styles.many}>{chosen.length} nodes are selected.</p>;
  return (
    <NodePage
      key={`${scope}/${first}`}
      scope={scope}
      id={first}
      spec={specOf(workflow, catalogue, scope, first)}
    />
  );
}

function NodePage({ scope, id, spec }: { scope: Scope; id: NodeId; spec: NodeSpec }) {
  const document = useDocumentStore();
  const node = useDocument((d) => bodyOf(d.workflow, scope).nodes[id]);
  const title = useDocument((d) => bodyOf(d.workflow, scope).layout.nodes[id]?.title ?? "");
  const key = useDocument((d) => d.key);
  const problems = useProblems();
  const run = useNodeRun(key, id);
  if (!node) return null;
  const change = document.getState().run;
  const own = problems.filter((problem) => problem.node === id && !problem.field);
  const fields = spec.inputs.filter(isWritable);
  const sockets = spec.inputs.filter((input) => !isWritable(input));
  return (
    <div className={styles.page}>
      <TextField
        aria-label="Title"
        placeholder={spec.title}
        value={title}
        onChange={(event) =>
          change({
            ...setLook(scope, [id], { title: event.target.value }, "rename node"),
            merge: `title ${scope}/${id}`,
          })
        }
      />
      <p className={styles.muted}>
        {spec.title} · {id}
        {spec.unknown && " · this type is not installed; its values are kept"}
      </p>
      <Instead scope={scope} id={id} spec={spec} />
      {own.map((problem) => (
        <p key={problem.message} className={styles.fault} role="alert">
          {problem.message}
        </p>
      ))}
      {fields.map((input) => (
        <Field
          key={input.name}
          scope={scope}
          node={id}
          held={node}
          spec={input}
          place="inspector"
          problems={problems}
        />
      ))}
      <label className={styles.mode} htmlFor={`mode-${id}`}>
        When run
        <Select
          id={`mode-${id}`}
          value={node.mode ?? "run"}
          onChange={(event) =>
            change(setMode(scope, [id], MODES.find((mode) => mode === event.target.value) ?? "run"))
          }
        >
          <option value="run">runs</option>
          <option value="mute">is left out, with what needs it</option>
          <option value="bypass">hands its inputs through</option>
        </Select>
      </label>
      {run && <LastRun run={run} />}
      <section aria-label="Help" className={styles.help}>
        <Markdown text={spec.doc} />
        <Sockets title="Takes" rows={sockets.map((i) => [i.name, i.type, i.help])} />
        <Sockets title="Gives" rows={spec.outputs.map((o) => [o.name, o.type, ""])} />
        {fields.some((input) => input.help) && (
          <dl>
            {fields.map((input) => (
              <div key={input.name}>
                <dt>{input.name}</dt>
                <dd>
                  {inline(input.help)} {bounds(input.low, input.high)}
                </dd>
              </div>
            ))}
          </dl>
        )}
      </section>
    </div>
  );
}

/** Another node in the place of this one, such as a model of one's own: where some give the same. */
function Instead({ scope, id, spec }: { scope: Scope; id: NodeId; spec: NodeSpec }) {
  const document = useDocumentStore();
  const catalogue = useCatalogue((state) => state.nodes);
  const readOnly = useDocument((d) => d.readOnly);
  const others = replacements(catalogue.values(), spec);
  if (!others.some((one) => one.id !== spec.id)) return null;
  return (
    <label className={styles.mode} htmlFor={`type-${id}`}>
      Node
      <Select
        id={`type-${id}`}
        value={spec.id}
        disabled={readOnly}
        onChange={(event) => {
          const to = catalogue.get(event.target.value);
          if (to) document.getState().run(retype(scope, id, to));
        }}
      >
        {others.map((one) => (
          <option key={one.id} value={one.id}>
            {one.title}
          </option>
        ))}
      </Select>
    </label>
  );
}

function LastRun({ run }: { run: NodeRun }) {
  return (
    <section aria-label="Last run" className={styles.run}>
      <h3>Last run</h3>
      <p>{nodeSaid(run)}</p>
      {run.why && <p className={styles.muted}>Why it ran: {run.why}</p>}
      {run.preview && <img src={run.preview} alt="Preview of the work so far" />}
      <LivePlot run={run} />
      {shownBy(run.ui).map((shown) => (
        <ShownAll key={shown.files.map((file) => file.digest).join() + shown.text} shown={shown} />
      ))}
    </section>
  );
}

function Sockets({ title, rows }: { title: string; rows: readonly (readonly [string, string, string])[] }) {
  if (!rows.length) return null;
  return (
    <>
      <h3>{title}</h3>
      <dl>
        {rows.map(([name, type, help]) => (
          <div key={name}>
            <dt>
              {name} <span className={styles.muted}>{said(type)}</span>
            </dt>
            {help && <dd>{inline(help)}</dd>}
          </div>
        ))}
      </dl>
    </>
  );
}

function bounds(low: number | null, high: number | null): string {
  return low === null || high === null || high > 1e9 ? "" : `(${low} to ${high})`;
}
