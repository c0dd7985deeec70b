import { currentContext } from "../commands/registry";
import type { Context } from "../commands/types";
import { addNodes, all, connect } from "../graph/commands";
import { bodyOf, freshId, isLink, linksOf } from "../graph/document";
import { outputType, specOf, subgraphSpec, type Target } from "../graph/links";
import { search } from "../graph/search";
import { shapeOf } from "../graph/size";
import { nests } from "../graph/subgraphs";
import type { Command, Json, Link, NodeSpec, Point } from "../graph/types";
import type { Pending } from "../state/canvasPort";
import { useView } from "../state/viewStore";
import { rowsFor } from "../widgets/registry";

/** Add a node of a type at a point, linked to the loose end that asked for it. One step of undo. */
export function addNodeOf(type: string, at: Point, pending: Pending | null): string | null {
  const context = currentContext();
  const spec = context && specOfType(context, type);
  if (!context || !spec) return null;
  const { document, scope } = context;
  const id = freshId(bodyOf(document.workflow, scope).nodes, shortName(spec));
  const hit = pending ? search([spec], "", pending.loose)[0] : undefined;
  const place = placed(spec, at, pending, hit?.socket ?? null);
  const add = addNodes(scope, [{ id, node: { type, inputs: defaults(spec) }, place }], `add ${spec.title}`);
  const link = pending && hit?.socket ? linkTo(scope, id, hit.socket, pending) : null;
  document.run(link ? all(`add ${spec.title}`, [add, link]) : add);
  useView.getState().select([id]);
  useView.getState().announce(`Added ${spec.title}`);
  return id;
}

/** Return the types that can be added here: all of the server's, and the workflow's own subgraphs. */
export function addableTypes({ document: { workflow }, catalogue, scope }: Context): NodeSpec[] {
  const own = Object.keys(workflow.subgraphs).filter((name) => scope === "" || !nests(workflow, scope, name));
  return [...catalogue.values(), ...own.map((name) => subgraphSpec(workflow, catalogue, name))];
}

function specOfType(context: Context, type: string): NodeSpec | undefined {
  return context.catalogue.get(type) ?? addableTypes(context).find((spec) => spec.id === type);
}

/** Put a node between the ends of a link: one step. Returns whether it fits there. */
export function insertOnLink(id: string, target: Target): boolean {
  const context = currentContext();
  const command = context && insertion(context, id, target);
  if (!command) return false;
  context.document.run(command);
  useView.getState().announce("Inserted into the link");
  return true;
}

function insertion(context: Context, id: string, target: Target): Command | null {
  const { document, scope, catalogue } = context;
  const { nodes } = bodyOf(document.workflow, scope);
  const source = nodes[target.node]?.inputs[target.input];
  const spec = specOf(document.workflow, catalogue, scope, id);
  if (!isLink(source) || spec.unknown || source[0] === id || target.node === id) return null;
  const isUsed = Object.values(nodes).some((node) => linksOf(node).some(([, link]) => link[0] === id));
  if (isUsed || linksOf(nodes[id] ?? { type: "", inputs: {} }).length) return null;
  const given = outputType(document.workflow, catalogue, scope, source) ?? "ANY";
  const { inputs } = specOf(document.workflow, catalogue, scope, target.node);
  const wanted = inputs.find((i) => i.name === target.input)?.type ?? "ANY";
  const input = search([spec], "", { from: "output", type: given, name: source[1] })[0]?.socket;
  const output = search([spec], "", { from: "input", type: wanted, name: target.input })[0]?.socket;
  if (!input || !output) return null;
  const into = connect(scope, source, { node: id, input });
  return all(`insert ${spec.title}`, [into, connect(scope, [id, output], target)]);
}

/** What a new node says in the file: only what cannot be left out. */
function defaults(spec: NodeSpec): Record<string, Json> {
  const inputs: Record<string, Json> = {};
  for (const input of spec.inputs) {
    const first = input.choices?.[0];
    if (input.required && first !== undefined) inputs[input.name] = first;
  }
  return inputs;
}

function shortName(spec: NodeSpec): string {
  return spec.id.split(/[./:]/).at(-1) ?? spec.id;
}

/** The corner of a new node: its socket, not its corner, goes where the link was let go. */
function placed(spec: NodeSpec, at: Point, pending: Pending | null, socketName: string | null): Point {
  const shape = shapeOf(spec, {}, rowsFor);
  const side = pending?.from.side === "output" ? "input" : "output";
  const socket = pending ? shape.sockets.find((s) => s.side === side && s.name === socketName) : undefined;
  const from = socket ?? { x: shape.width / 2, y: 16 };
  return { x: Math.round(at.x - from.x), y: Math.round(at.y - from.y) };
}

function linkTo(scope: string, id: string, socket: string, { from }: Pending): Command {
  const source: Link = from.side === "output" ? from.link : [id, socket];
  const target: Target = from.side === "output" ? { node: id, input: socket } : from.target;
  return connect(scope, source, target);
}
