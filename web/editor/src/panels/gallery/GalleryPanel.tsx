/** One card for each ready-made workflow; it opens as a form, in a tab of its own. */

import { type SyntheticEvent, useEffect, useState } from "react";
import { openWorkflow } from "../../documents/open";
import { api, exampleUrl } from "../../server/api";
import type { Example } from "../../server/messages";
import { useView } from "../../state/viewStore";
import { Button } from "../../ui/Button";
import { TextField } from "../../ui/Field";
import styles from "./gallery.module.css";
import { grouped, plain, timeOf } from "./groups";

export function GalleryPanel() {
  const [examples, setExamples] = useState<readonly Example[] | null>(null);
  const [failed, setFailed] = useState("");
  const [search, setSearch] = useState("");
  const load = () => {
    setFailed("");
    api.examples().then(setExamples, (error: Error) => setFailed(error.message));
  };
  useEffect(load, []);
  if (failed) {
    return (
      <div className={styles.panel}>
        <p role="alert">{failed}</p>
        <Button onClick={load}>Try again</Button>
      </div>
    );
  }
  const groups = grouped(examples ?? [], search);
  return (
    <div className={styles.panel}>
      <TextField
        type="search"
        aria-label="Search ready-made workflows"
        placeholder="Search"
        value={search}
        onChange={(e) => setSearch(e.target.value)}
      />
      {examples && !groups.length && <p className={styles.none}>Nothing is called “{search}”.</p>}
      {groups.map((group) => (
        <section key={group.title} aria-label={group.title}>
          <h3>{group.title}</h3>
          <ul className={styles.cards}>
            {group.examples.map((example) => (
              <li key={`${example.group}/${example.id}`}>
                <Card example={example} />
              </li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

function Card({ example }: { example: Example }) {
  const { group, id, name, sentence, pictures, needs } = example;
  const taken = timeOf(example);
  const announce = useView((view) => view.announce);
  const open = async () => {
    try {
      const { workflow } = await api.example(group, id);
      openWorkflow(workflow, "form", pictures.includes("after") ? `${group}/${id}` : null);
    } catch (error) {
      announce(error instanceof Error ? error.message : String(error));
    }
  };
  const hide = (event: SyntheticEvent<HTMLImageElement>) => {
    event.currentTarget.hidden = true;
  };
  return (
    <button type="button" className={styles.card} onClick={() => void open()}>
      {pictures.length > 0 && (
        <span className={styles.pictures}>
          {pictures.map((which) => (
            <img
              key={which}
              src={exampleUrl(group, id, which)}
              alt="" // the name below says it all
              data-which={which}
              loading="lazy"
              onError={hide}
            />
          ))}
        </span>
      )}
      <strong>{name}</strong>
      <span>{plain(sentence)}</span>
      {(needs.length > 0 || taken) && (
        <span className={styles.needs}>
          {needs.map((need) => (
            <em key={need}>{need}</em>
          ))}
          {taken && <em title={taken.help}>{taken.text}</em>}
        </span>
      )}
    </button>
  );
}
