/** Pictures on their way into a workflow: uploaded, then named by a node that loads them. */

import { addNodes, setInput } from "../graph/commands";
import { freshId, isLink } from "../graph/document";
import { specOf } from "../graph/links";
import type { Catalogue, NodeId, Scope, Workflow } from "../graph/types";
import { api, fileUrl } from "../server/api";
import { useCatalogue } from "../state/catalogueStore";
import type { DocumentStore } from "../state/documentStore";
import { useView } from "../state/viewStore";

export interface PictureInput {
  readonly node: NodeId;
  readonly input: string;
  readonly title: string;
}

const LOADER = "load_image";

/** Return the inputs of the workflow that name a picture of the input folder. */
export function pictureInputs(workflow: Workflow, catalogue: Catalogue): PictureInput[] {
  return Object.keys(workflow.nodes).flatMap((node) => {
    const spec = specOf(workflow, catalogue, "", node);
    const title = workflow.layout.nodes[node]?.title ?? spec.title;
    return spec.inputs
      .filter((input) => input.file === "input" && !isLink(workflow.nodes[node]?.inputs[input.name]))
      .map((input) => ({ node, input: input.name, title: `${title}: ${input.name}` }));
  });
}

/** Upload a picture; returns the name that inputs know it by. */
export async function uploadPicture(file: Blob, name: string): Promise<string> {
  return (await api.upload(name, file)).name;
}

/** Give an input a picture that the server has as a result. */
export async function sendResult(
  document: DocumentStore,
  digest: string,
  name: string,
  to: PictureInput | null,
): Promise<void> {
  const blob = await (await fetch(fileUrl(digest))).blob();
  await givePicture(document, blob, name.split("/").pop() || "result.png", to);
}

/** Upload a picture and give it to an input, or to a new node that loads it. */
export async function givePicture(
  document: DocumentStore,
  file: Blob,
  name: string,
  to: PictureInput | null,
): Promise<void> {
  const used = await uploadPicture(file, name);
  const { run, workflow } = document.getState();
  if (to) {
    run(setInput("", to.node, to.input, used));
    useView.getState().announce(`${used} goes to ${to.title}.`);
    return;
  }
  const id = addLoader(document, "", used, workflow);
  if (id) useView.getState().reveal(id);
}

function addLoader(document: DocumentStore, scope: Scope, used: string, workflow: Workflow): NodeId | null {
  const spec = useCatalogue.getState().nodes.get(LOADER);
  const input = spec?.inputs.find((one) => one.file === "input")?.name;
  if (!spec || !input) return null;
  const id = freshId(workflow.nodes, "picture");
  const placed = Object.values(workflow.layout.nodes);
  const x = placed.length ? Math.min(...placed.map((p) => p.x)) - 320 : 0;
  const y = placed.length ? Math.min(...placed.map((p) => p.y)) : 0;
  const node = { type: spec.id, inputs: { [input]: used } };
  document.getState().run(addNodes(scope, [{ id, node, place: { x, y } }], "add picture"));
  return id;
}
