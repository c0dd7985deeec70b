/** Keeps one browser tab the writer of each document, and says so where it is another one. */

import { useEffect } from "react";
import { useDocument, useDocumentStore } from "../state/tabs";
import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import styles from "./documents.module.css";
import { ownDocuments, takeOver } from "./ownership";
import { rememberSession } from "./session";

export function OwnTab() {
  const document = useDocumentStore();
  const readOnly = useDocument((d) => d.readOnly);
  useEffect(ownDocuments, []);
  useEffect(rememberSession, []);
  if (!readOnly) return null;
  const take = async () => {
    await takeOver(document);
    useView.getState().announce("This tab writes the workflow now.");
  };
  return (
    <div className={styles.banner} role="alert">
      This workflow is open in another browser tab. Here it can only be looked at.
      <Button onClick={() => void take()}>Take over</Button>
    </div>
  );
}
