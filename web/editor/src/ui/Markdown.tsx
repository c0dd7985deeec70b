/** The little Markdown that help texts use: paragraphs, lists, code, emphasis. Never HTML. */

import { Fragment, type ReactNode } from "react";
import styles from "./ui.module.css";

export function Markdown({ text }: { text: string }) {
  const blocks = text.trim().split(/\n\s*\n/);
  return (
    <div className={styles.markdown}>
      {blocks.map((block, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: blocks of a fixed text
        <Block key={place} text={block} />
      ))}
    </div>
  );
}

function Block({ text }: { text: string }) {
  const lines = text.split("\n");
  if (lines.every((line) => line.startsWith("    ")))
    return <pre>{lines.map((line) => line.slice(4)).join("\n")}</pre>;
  const [first = ""] = lines;
  const List = first.startsWith("- ") ? "ul" : /^\d+\. /.test(first) ? "ol" : null;
  if (List) {
    const items = text.split(/^(?:- |\d+\. )/m).filter(Boolean);
    return (
      <List>
        {items.map((item) => (
          <li key={item}>{inline(item)}</li>
        ))}
      </List>
    );
  }
  return <p>{inline(text.replace(/^#+ /, ""))}</p>;
}

/** Render the emphasis and code of one paragraph. */
export function inline(text: string): ReactNode {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/).map((part, place) => {
    const key = `${place} ${part}`;
    if (part.startsWith("`") && part.length > 2) return <code key={key}>{part.slice(1, -1)}</code>;
    if (part.startsWith("**")) return <strong key={key}>{part.slice(2, -2)}</strong>;
    if (part.startsWith("*") && part.length > 2) return <em key={key}>{part.slice(1, -1)}</em>;
    return <Fragment key={key}>{part}</Fragment>;
  });
}
