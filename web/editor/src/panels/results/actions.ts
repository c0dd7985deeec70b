/** What can be done with a result: one list for its menu and for the viewer. */

import { openJob } from "../../documents/open";
import { pictureInputs, sendResult } from "../../documents/pictures";
import { useCatalogue } from "../../state/catalogueStore";
import { useDocumentStore } from "../../state/tabs";
import { useView } from "../../state/viewStore";
import type { MenuItem } from "../../ui/Menu";
import type { Result } from "./results";
import { useResults } from "./resultsStore";

export interface Actions {
  readonly items: (MenuItem | null)[];
  readonly sendTo: MenuItem[];
}

export function useActions(result: Result): Actions {
  const document = useDocumentStore();
  const catalogue = useCatalogue((state) => state.nodes);
  const { view, viewed, forget } = useResults.getState();
  const told = (doing: Promise<unknown>) => {
    doing.catch((error: Error) => useView.getState().announce(error.message));
  };
  const { digest, name, job } = result;
  const sendTo: MenuItem[] = digest
    ? [
        ...pictureInputs(document.getState().workflow, catalogue).map((to) => ({
          label: `Send to ${to.title}`,
          run: () => told(sendResult(document, digest, name, to)),
        })),
        { label: "Send to a new node", run: () => told(sendResult(document, digest, name, null)) },
      ]
    : [];
  const items: (MenuItem | null)[] = [
    { label: "Look at it", run: () => view(result) },
    {
      label: "Compare with the one that is open",
      disabled: !viewed?.digest || viewed.id === result.id,
      run: () => view(viewed, result),
    },
    { label: "Open its workflow", run: () => told(openJob(job).then(() => view(null))) },
    null,
    ...sendTo,
    ...(sendTo.length ? [null] : []),
    { label: "Remove from the history", run: () => told(forget(job)) },
  ];
  return { items, sendTo };
}
