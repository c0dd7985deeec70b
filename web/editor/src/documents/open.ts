/** Opening workflows, always in a tab of their own: nothing that is open is ever replaced. */

import { layered } from "../graph/arrange";
import { readWorkflow } from "../graph/document";
import { specOf } from "../graph/links";
import { shapeOf } from "../graph/size";
import type { Json, Workflow } from "../graph/types";
import { ApiError, api } from "../server/api";
import { useCatalogue } from "../state/catalogueStore";
import { createDocument, type DocumentStore } from "../state/documentStore";
import { useTabs } from "../state/tabs";
import { useView } from "../state/viewStore";
import { rowsFor } from "../widgets/registry";
import { said, useImported } from "./imported";

/** Open a workflow that has no document yet. Null, with a spoken reason, if it is none of ours. */
export function openWorkflow(
  plain: unknown,
  mode: "graph" | "form" = "graph",
  example: string | null = null,
): DocumentStore | null {
  const reading = readWorkflow(plain);
  if (!reading) {
    useView.getState().announce("This is not a workflow that this version reads.");
    return null;
  }
  const document = createDocument(arranged(reading.workflow), null, example);
  show(document, mode);
  const { announce } = useView.getState();
  announce([`Opened ${reading.workflow.name}.`, ...reading.warnings].join(" "));
  return document;
}

/** Open a saved document, or go to the tab it is open in. */
export async function openDocument(id: string): Promise<DocumentStore | null> {
  const there = useTabs.getState().open.find((store) => store.getState().server?.id === id);
  if (there) {
    useTabs.getState().show(there);
    return there;
  }
  const saved = await api.document(id);
  const reading = readWorkflow(saved.workflow);
  if (!reading) return null;
  const document = createDocument(
    { ...reading.workflow, name: saved.name },
    { id, revision: saved.revision },
  );
  show(document, "graph");
  return document;
}

/** Open the workflow that made a result, with the values laid over it. */
export async function openJob(id: string): Promise<DocumentStore | null> {
  const job = await api.job(id);
  const document = openWorkflow(job.workflow);
  const { run } = document?.getState() ?? {};
  run?.({ label: "values of the run", apply: (workflow) => overlay(workflow, job.inputs) });
  return document;
}

/** Open a file's workflow; the sentence why not, if it holds none. */
export async function openFile(file: Blob): Promise<string | null> {
  try {
    const { workflow, report } = await api.importFile(file);
    if (!openWorkflow(workflow)) return "This is not a workflow that this version reads.";
    if (report && said(report).length) useImported.setState({ report });
    return null;
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
}

/** Lay a workflow out that was written by hand or by a program, without places. */
function arranged(workflow: Workflow): Workflow {
  const ids = Object.keys(workflow.nodes);
  if (ids.some((id) => workflow.layout.nodes[id])) return workflow;
  const catalogue = useCatalogue.getState().nodes;
  const box = (id: string) => shapeOf(specOf(workflow, catalogue, "", id), {}, rowsFor);
  const boxes = Object.fromEntries(
    ids.map((id) => [id, { x: 0, y: 0, width: box(id).width, height: box(id).height }]),
  );
  return {
    ...workflow,
    layout: { ...workflow.layout, nodes: layered(workflow.nodes, boxes, { x: 0, y: 0 }) },
  };
}

function show(document: DocumentStore, mode: "graph" | "form"): void {
  useTabs.getState().show(document);
  useView.getState().leaveTo(0);
  useView.getState().set({ mode });
}

function overlay(workflow: Workflow, inputs: Readonly<Record<string, Json>>): void {
  for (const [target, value] of Object.entries(inputs)) {
    const at = target.lastIndexOf(".");
    const node = workflow.nodes[target.slice(0, at)];
    if (node) node.inputs[target.slice(at + 1)] = value;
  }
}
