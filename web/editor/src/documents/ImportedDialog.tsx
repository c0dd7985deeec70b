/** After a foreign workflow was opened: what is not as it was, and where. */

import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import styles from "./documents.module.css";
import { counted, said, useImported } from "./imported";

export function ImportedDialog() {
  const report = useImported((imported) => imported.report);
  const reveal = useView((view) => view.reveal);
  const close = () => useImported.setState({ report: null });
  if (!report) return null;
  return (
    <Dialog title="What became of this workflow" open onClose={close}>
      <p>{counted(report)}</p>
      <ul className={styles.remarks}>
        {said(report).map(({ node, text }) => (
          <li key={`${node} ${text}`}>
            {node !== null && (
              <Button
                look="plain"
                onClick={() => {
                  close();
                  reveal(node);
                }}
              >
                {node}
              </Button>
            )}{" "}
            {text}
          </li>
        ))}
      </ul>
      <div className={styles.choices}>
        <Button look="primary" onClick={close}>
          Close
        </Button>
      </div>
    </Dialog>
  );
}
