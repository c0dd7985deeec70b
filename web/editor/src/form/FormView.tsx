/** A workflow as a page: its chosen inputs, Run, and what it made. Also the editor of small screens. */

import { Pencil, Play } from "lucide-react";
import { useState } from "react";
import { useProblems } from "../panels/problems/useProblems";
import { ResultCard } from "../panels/results/ResultCard";
import { useAllResults, useResults } from "../panels/results/resultsStore";
import { runDocument } from "../panels/run/runDocument";
import { progressOf } from "../panels/run/said";
import { fileUrl } from "../server/api";
import { useCatalogue } from "../state/catalogueStore";
import { useLatestRun } from "../state/runStore";
import { useDocument, useDocumentStore } from "../state/tabs";
import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import { ExampleHelp } from "../widgets/example/ExampleHelp";
import { ExampleResult } from "../widgets/example/ExampleResult";
import { Field } from "../widgets/Field";
import { LivePlot } from "../widgets/livePlot/LivePlot";
import { ShownAll } from "../widgets/shown/ShownAll";
import { FormBuilder } from "./FormBuilder";
import styles from "./form.module.css";
import { formRows } from "./formFields";

const EARLIER = 12;

export function FormView() {
  const document = useDocumentStore();
  const workflow = useDocument((d) => d.workflow);
  const catalogue = useCatalogue((state) => state.nodes);
  const problems = useProblems();
  const [building, setBuilding] = useState(false);
  const set = useView((view) => view.set);
  const rows = formRows(workflow, catalogue);
  const elsewhere = problems.filter(
    (p) => !rows.some((r) => r.field.node === p.node && r.field.input === p.field),
  );
  return (
    <div className={styles.page}>
      <section className={styles.inputs} aria-label={`Form of ${workflow.name}`}>
        <div className={styles.head}>
          <h1>{workflow.name}</h1>
          <Button look="plain" aria-pressed={building} onClick={() => setBuilding(!building)}>
            <Pencil size={14} /> {building ? "Done" : "Edit form"}
          </Button>
        </div>
        <ExampleHelp />
        {building ? (
          <FormBuilder />
        ) : (
          <>
            {!rows.length && (
              <p className={styles.none}>
                This workflow has no form yet.{" "}
                <Button onClick={() => setBuilding(true)}>Choose its fields</Button>{" "}
                <Button onClick={() => set({ mode: "graph" })}>Show graph</Button>
              </p>
            )}
            {rows.map(({ field, label, found }) =>
              found ? (
                <Field
                  key={`${field.node}.${field.input}`}
                  scope=""
                  node={field.node}
                  held={found.node}
                  spec={found.spec}
                  label={label}
                  place="form"
                  problems={problems}
                />
              ) : (
                <p key={`${field.node}.${field.input}`} className={styles.none}>
                  {label}: not available here.
                </p>
              ),
            )}
            {elsewhere.map((problem) => (
              <p key={`${problem.node}${problem.message}`} className={styles.fault} role="alert">
                {problem.title && <strong>{problem.title}: </strong>}
                {problem.message}
              </p>
            ))}
            <Button look="primary" className={styles.run ?? ""} onClick={() => void runDocument(document)}>
              <Play size={14} /> Run {workflow.name}
            </Button>
          </>
        )}
      </section>
      <Made />
    </div>
  );
}

/** What the document made: the newest large, earlier ones below. */
function Made() {
  const key = useDocument((d) => d.key);
  const run = useLatestRun(key);
  const view = useResults((results) => results.view);
  const results = useAllResults().filter((result) => result.client === key);
  const newest = results.filter((result) => result.job === results[0]?.job);
  const earlier = results.filter((result) => result.job !== results[0]?.job).slice(0, EARLIER);
  const isOpen = run?.state === "running" || run?.state === "queued";
  const example = useDocument((d) => d.example);
  const working = Object.values(run?.nodes ?? {}).find(
    (node) => node.state === "running" && Object.keys(node.figures).length,
  );
  const preview = Object.values(run?.nodes ?? {}).find((node) => node.preview)?.preview;
  return (
    <section className={styles.made} aria-label="Results of this workflow">
      {run && isOpen && (
        <p className={styles.progress} role="status">
          <progress value={progressOf(run).part} max={1} aria-label="Progress" /> {progressOf(run).text}
        </p>
      )}
      {preview && isOpen && <img className={styles.large} src={preview} alt="Preview of the work so far" />}
      {!preview &&
        newest.map((result) =>
          result.digest && !result.files.length ? (
            <button
              key={result.id}
              type="button"
              className={styles.open}
              aria-label={`Look at the result of ${result.node}`}
              onClick={() => view(result)}
            >
              <img className={styles.large} src={fileUrl(result.digest)} alt="" />
            </button>
          ) : (
            <div key={result.id} className={styles.said}>
              <ShownAll shown={{ ui: result.kind, text: result.text, files: result.files }} />
            </div>
          ),
        )}
      {isOpen && <LivePlot run={working} />}
      {!newest.length && !isOpen && (
        <ExampleResult example={example} otherwise="Press Run to make the first picture." />
      )}
      {earlier.length > 0 && (
        <ul className={styles.earlier}>
          {earlier.map((result) => (
            <li key={result.id}>
              <ResultCard result={result} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
