/** In the status bar: how the document stands with the server, and the way out of a conflict. */

import { loadTheirs, saveAsCopy, saveNow } from "../state/saving";
import { useDocument, useDocumentStore } from "../state/tabs";
import { Button } from "../ui/Button";
import styles from "./documents.module.css";

export function SaveStatus() {
  const document = useDocumentStore();
  const save = useDocument((d) => d.save);
  const savedAt = useDocument((d) => d.savedAt);
  const untouched = useDocument((d) => d.server === null && d.history.past.length === 0);
  if (untouched) return <span>Saved as soon as you change something</span>;
  if (save === "conflict") {
    return (
      <span className={styles.conflict} role="alert">
        Somebody saved a newer version.
        <Button look="plain" onClick={() => void loadTheirs(document)}>
          Load it
        </Button>
        <Button look="plain" onClick={() => void saveAsCopy(document)}>
          Keep mine as a copy
        </Button>
      </span>
    );
  }
  if (save === "failed") {
    return (
      <span className={styles.conflict} role="alert">
        Not saved; trying again.
        <Button look="plain" onClick={() => void saveNow(document)}>
          Save now
        </Button>
      </span>
    );
  }
  if (save !== "saved") return <span>Saving …</span>;
  return <span>Saved{savedAt ? ` ${new Date(savedAt * 1000).toLocaleTimeString()}` : ""}</span>;
}
