/** The chosen inputs of a workflow, in order. Pure. */

import { isLink } from "../graph/document";
import { isWritable, specOf } from "../graph/links";
import type { Catalogue, FormField, InputSpec, NodeId, Workflow, WorkflowNode } from "../graph/types";

export interface FormRow {
  readonly field: FormField;
  readonly label: string;
  /** Null where the field's node or input is not there: it is kept, and can be removed. */
  readonly found: { readonly node: WorkflowNode; readonly spec: InputSpec } | null;
}

/** Return the rows of the form. */
export function formRows(workflow: Workflow, catalogue: Catalogue): FormRow[] {
  return workflow.form.map((field) => {
    const node = workflow.nodes[field.node];
    const spec =
      node && specOf(workflow, catalogue, "", field.node).inputs.find((input) => input.name === field.input);
    const label = field.label || field.input.replaceAll("_", " ");
    return { field, label, found: node && spec ? { node, spec } : null };
  });
}

export interface Choosable {
  readonly node: NodeId;
  readonly title: string;
  readonly inputs: readonly { readonly name: string; readonly chosen: boolean }[];
}

/** Return what can be put on the form, by node. */
export function choosable(workflow: Workflow, catalogue: Catalogue): Choosable[] {
  return Object.entries(workflow.nodes).flatMap(([node, { inputs }]) => {
    const spec = specOf(workflow, catalogue, "", node);
    const found = spec.inputs
      .filter((input) => isWritable(input) && !isLink(inputs[input.name]))
      .map(({ name }) => ({ name, chosen: workflow.form.some((f) => f.node === node && f.input === name) }));
    return found.length
      ? [{ node, title: workflow.layout.nodes[node]?.title ?? spec.title, inputs: found }]
      : [];
  });
}

/** Return the form with a field put on it or taken off. */
export function toggled(form: readonly FormField[], node: NodeId, input: string): FormField[] {
  const rest = form.filter((field) => field.node !== node || field.input !== input);
  return rest.length < form.length ? rest : [...form, { node, input, label: input.replaceAll("_", " ") }];
}

/** Return the form with the field at `from` put at `to`. */
export function moved(form: readonly FormField[], from: number, to: number): FormField[] {
  const field = form[from];
  if (!field || to < 0 || to >= form.length) return [...form];
  const rest = form.filter((_, place) => place !== from);
  return [...rest.slice(0, to), field, ...rest.slice(to)];
}
