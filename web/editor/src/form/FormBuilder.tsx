/** Choosing and ordering the fields of the form: by dragging, with buttons, or with the keyboard. */

import { ArrowDown, ArrowUp, X } from "lucide-react";
import { type DragEvent, useRef } from "react";
import { setForm } from "../graph/commands";
import type { FormField } from "../graph/types";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument, useDocumentStore } from "../state/tabs";
import { IconButton } from "../ui/Button";
import { TextField } from "../ui/Field";
import styles from "./form.module.css";
import { choosable, moved, toggled } from "./formFields";

export function FormBuilder() {
  const document = useDocumentStore();
  const workflow = useDocument((d) => d.workflow);
  const catalogue = useCatalogue((state) => state.nodes);
  const dragged = useRef<number | null>(null);
  const { form } = workflow;
  const change = (next: readonly FormField[], merge?: string) =>
    document.getState().run({ ...setForm(next), ...(merge ? { merge } : {}) });
  const drop = (event: DragEvent, place: number) => {
    event.preventDefault();
    if (dragged.current !== null) change(moved(form, dragged.current, place));
    dragged.current = null;
  };
  return (
    <>
      <ol className={styles.builder} aria-label="Fields of the form">
        {form.map((field, place) => (
          <li
            key={`${field.node}.${field.input}`}
            draggable
            onDragStart={() => {
              dragged.current = place;
            }}
            onDragOver={(event) => event.preventDefault()}
            onDrop={(event) => drop(event, place)}
          >
            <TextField
              aria-label={`Label of ${field.node}, ${field.input}`}
              value={field.label ?? ""}
              placeholder={field.input}
              onChange={(event) =>
                change(
                  form.map((one, at) => (at === place ? { ...one, label: event.target.value } : one)),
                  `form label ${place}`,
                )
              }
            />
            <IconButton
              label="Move up"
              disabled={place === 0}
              onClick={() => change(moved(form, place, place - 1))}
            >
              <ArrowUp size={14} />
            </IconButton>
            <IconButton
              label="Move down"
              disabled={place === form.length - 1}
              onClick={() => change(moved(form, place, place + 1))}
            >
              <ArrowDown size={14} />
            </IconButton>
            <IconButton
              label="Take off the form"
              onClick={() => change(toggled(form, field.node, field.input))}
            >
              <X size={14} />
            </IconButton>
          </li>
        ))}
      </ol>
      <h2>Inputs</h2>
      {choosable(workflow, catalogue).map(({ node, title, inputs }) => (
        <fieldset key={node} className={styles.choose}>
          <legend>
            {title} ({node})
          </legend>
          {inputs.map(({ name, chosen }) => (
            <label key={name}>
              <input type="checkbox" checked={chosen} onChange={() => change(toggled(form, node, name))} />{" "}
              {name.replaceAll("_", " ")}
            </label>
          ))}
        </fieldset>
      ))}
    </>
  );
}
