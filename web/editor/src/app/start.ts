/** What happens when the page opens. */

import textToImage from "../../../../nodes/basics/text_to_image.json";
import { restoreSession } from "../documents/session";
import { readWorkflow } from "../graph/document";
import { useCatalogue } from "../state/catalogueStore";
import { createDocument } from "../state/documentStore";
import { useRuns } from "../state/runStore";
import { useTabs } from "../state/tabs";

/** Load the node types, listen to runs, and open a first document unless one is open. Returns how to stop. */
export function start(): () => void {
  let stop = () => {};
  let stopped = false;
  void useCatalogue.getState().load();
  void useRuns
    .getState()
    .connect()
    .then((close) => {
      if (stopped) close();
      else stop = close;
    });
  if (!useTabs.getState().active) void restoreSession().then((found) => found || openFirst());
  return () => {
    stopped = true;
    stop();
  };
}

function openFirst(): void {
  const reading = readWorkflow(textToImage);
  if (reading) useTabs.getState().show(createDocument(reading.workflow, null, "basics/text_to_image"));
}
