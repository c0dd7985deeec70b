/** One input of a node with its name, control and what is wrong with it: in the inspector and in the form. */

import { clearInput, setInput } from "../graph/commands";
import { escapeValue, isLink, unescapeValue } from "../graph/document";
import type { InputSpec, NodeId, Problem, Scope, WorkflowNode } from "../graph/types";
import { useDocument, useDocumentStore } from "../state/tabs";
import { inline } from "../ui/Markdown";
import styles from "./field.module.css";
import { widgetFor } from "./registry";

interface Props {
  readonly scope: Scope;
  readonly node: NodeId;
  readonly held: WorkflowNode;
  readonly spec: InputSpec;
  readonly label?: string;
  readonly place: "inspector" | "form";
  readonly problems: readonly Problem[];
}

export function Field({
  scope,
  node,
  held,
  spec,
  label = spec.name.replaceAll("_", " "),
  place,
  problems,
}: Props) {
  const document = useDocumentStore();
  const readOnly = useDocument((d) => d.readOnly);
  const widget = widgetFor(spec);
  const said = held.inputs[spec.name];
  const id = `${place}-${scope}-${node}-${spec.name}`;
  const { run } = document.getState();
  const faults = problems.filter((problem) => problem.node === node && problem.field === spec.name);
  const hint =
    spec.default !== null && said !== undefined && !isLink(said)
      ? `Default: ${JSON.stringify(spec.default)}. `
      : "";
  return (
    <div className={styles.field} data-field={`${node}.${spec.name}`} data-wrong={faults.length > 0}>
      <div className={styles.head}>
        <label htmlFor={id} title={hint + spec.help}>
          {label}
          {spec.required && said === undefined && <span className={styles.needed}> needed</span>}
        </label>
        {said !== undefined && !isLink(said) && spec.default !== null && (
          <button
            type="button"
            className={styles.reset}
            disabled={readOnly}
            aria-label={`Reset ${label}`}
            onClick={() => run(clearInput(scope, node, spec.name))}
          >
            reset
          </button>
        )}
      </div>
      {isLink(said) ? (
        <p className={styles.linked}>
          from {said[0] === "@" ? "the group's own input" : said[0]} · {said[1]}
        </p>
      ) : widget ? (
        <widget.component
          spec={spec}
          value={said === undefined ? spec.default : unescapeValue(said)}
          isSet={said !== undefined}
          onChange={(value) => run(setInput(scope, node, spec.name, escapeValue(value)))}
          onReset={() => run(clearInput(scope, node, spec.name))}
          disabled={readOnly}
          id={id}
          label={label}
          place={place}
          at={{ scope, node }}
        />
      ) : (
        <p className={styles.linked}>{spec.required ? "not linked yet" : "not linked"}</p>
      )}
      {faults.map((problem) => (
        <p key={problem.message} className={styles.fault} role="alert">
          {problem.message}
        </p>
      ))}
      {place === "form" && spec.help && <p className={styles.help}>{inline(spec.help)}</p>}
    </div>
  );
}
