/** The page of help of a ready-made workflow, read from the server when it is opened. */

import { useState } from "react";
import { api } from "../../server/api";
import { useDocument } from "../../state/tabs";
import { Markdown } from "../../ui/Markdown";
import styles from "./example.module.css";

export function ExampleHelp() {
  const example = useDocument((d) => d.example);
  const [text, setText] = useState("");
  if (!example) return null;
  const [group = "", id = ""] = example.split("/");
  const read = async () => {
    try {
      setText((await api.example(group, id)).example.help);
    } catch (error) {
      setText(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <details className={styles.help} onToggle={({ currentTarget }) => currentTarget.open && void read()}>
      <summary>How it works</summary>
      <Markdown text={text} />
    </details>
  );
}
