/** The workflow itself, while no node is selected: its name and all its nodes in the order in which they run. */

import { useMemo, useState } from "react";
import { rename } from "../../graph/commands";
import { linksOf } from "../../graph/document";
import { specOf } from "../../graph/links";
import type { NodeId, Workflow } from "../../graph/types";
import { useCatalogue } from "../../state/catalogueStore";
import { useDocument, useDocumentStore } from "../../state/tabs";
import { useView } from "../../state/viewStore";
import { Button } from "../../ui/Button";
import { TextField } from "../../ui/Field";
import { ExampleHelp } from "../../widgets/example/ExampleHelp";
import styles from "./inspector.module.css";

const AT_FIRST = 100; // thousands of buttons would be felt at every edit

export function WorkflowPage() {
  const document = useDocumentStore();
  const workflow = useDocument((d) => d.workflow);
  const catalogue = useCatalogue((state) => state.nodes);
  const reveal = useView((view) => view.reveal);
  const [all, setAll] = useState(false);
  const ids = useMemo(() => ordered(workflow), [workflow]);
  return (
    <div className={styles.page}>
      <label className={styles.mode} htmlFor="workflow-name">
        Name of the workflow
        <TextField
          id="workflow-name"
          value={workflow.name}
          onChange={(event) => document.getState().run(rename(event.target.value))}
        />
      </label>
      <ExampleHelp />
      <section aria-label="Outline">
        <h3>Outline</h3>
        <ol className={styles.list}>
          {ids.slice(0, all ? ids.length : AT_FIRST).map((id) => {
            const spec = specOf(workflow, catalogue, "", id);
            const sources = [
              ...new Set(linksOf(workflow.nodes[id] ?? { type: "", inputs: {} }).map(([, link]) => link[0])),
            ];
            return (
              <li key={id}>
                <Button look="plain" onClick={() => reveal(id)}>
                  {workflow.layout.nodes[id]?.title ?? spec.title}
                </Button>
                <span className={styles.muted}>{sources.length ? ` from ${sources.join(", ")}` : ""}</span>
              </li>
            );
          })}
        </ol>
        {!all && ids.length > AT_FIRST && (
          <Button onClick={() => setAll(true)}>Show all {ids.length} nodes</Button>
        )}
      </section>
    </div>
  );
}

/** Return the nodes so that each comes after what it needs; those in a circle last. */
export function ordered(workflow: Workflow): NodeId[] {
  const done: NodeId[] = [];
  const seen = new Set<NodeId>();
  const visit = (id: NodeId): void => {
    const node = workflow.nodes[id];
    if (!node || seen.has(id)) return;
    seen.add(id);
    for (const [, link] of linksOf(node)) visit(link[0]);
    done.push(id);
  };
  for (const id of Object.keys(workflow.nodes)) visit(id);
  return done;
}
