import { currentContext } from "../commands/registry";
import { bodyOf } from "../graph/document";
import { checkLink, specOf, type Target } from "../graph/links";
import type { Link } from "../graph/types";
import { useCanvas } from "../state/canvasPort";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import css from "./canvas.module.css";
import { makeLink } from "./interactions/useConnecting";

interface Choice {
  key: string;
  title: string;
  from: Link;
  to: Target;
}

/** Linking without a pointer: each pair of sockets of the chosen node that fits, as a button. */
export function ConnectDialog() {
  const id = useCanvas((canvas) => canvas.connecting);
  const close = () => {
    useCanvas.setState({ connecting: null });
    useCanvas.getState().port?.focus();
  };
  const choices = id ? choicesFor(id) : [];
  return (
    <Dialog title="Connect to…" open={id !== null} onClose={close}>
      {choices.length === 0 && <p>No other node has a socket that fits.</p>}
      <div className={css.choices}>
        {choices.map((choice) => (
          <Button
            key={choice.key}
            look="plain"
            onClick={() => {
              const context = currentContext();
              if (context) makeLink(context, choice);
              close();
            }}
          >
            {choice.title}
          </Button>
        ))}
      </div>
    </Dialog>
  );
}

function choicesFor(id: string): Choice[] {
  const context = currentContext();
  if (!context) return [];
  const { document, catalogue, scope } = context;
  const { nodes } = bodyOf(document.workflow, scope);
  if (!(id in nodes)) return [];
  const spec = (node: string) => specOf(document.workflow, catalogue, scope, node);
  const choices: Choice[] = [];
  const add = (from: Link, to: Target) => {
    const verdict = checkLink(document.workflow, catalogue, scope, from, to);
    const key = `${from[0]}.${from[1]} → ${to.node}.${to.input}`;
    if (verdict.ok)
      choices.push({ key, title: verdict.replaces ? `${key} (replaces a link)` : key, from, to });
  };
  for (const other of Object.keys(nodes)) {
    if (other === id) continue;
    for (const output of spec(id).outputs)
      for (const input of spec(other).inputs) add([id, output.name], { node: other, input: input.name });
    for (const output of spec(other).outputs)
      for (const input of spec(id).inputs) add([other, output.name], { node: id, input: input.name });
  }
  return choices.sort((a, b) => Number(a.title.endsWith(")")) - Number(b.title.endsWith(")")));
}
