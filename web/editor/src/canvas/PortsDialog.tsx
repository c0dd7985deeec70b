import { Trash2 } from "lucide-react";
import { said, subgraphSpec } from "../graph/links";
import { removePort, renamePort } from "../graph/subgraphs";
import { useCanvas } from "../state/canvasPort";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument } from "../state/tabs";
import { IconButton } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { TextField } from "../ui/Field";
import css from "./canvas.module.css";

type Side = "inputs" | "outputs";

/** Rename and remove the ports of a subgraph, from outside or inside; every instance follows. */
export function PortsDialog() {
  const name = useCanvas((canvas) => canvas.ports);
  const isThere = useDocument((document) => name !== null && name in document.workflow.subgraphs);
  const close = () => useCanvas.setState({ ports: null });
  return (
    <Dialog title={`Ports of ${name ?? ""}`} open={isThere} onClose={close}>
      {isThere && name !== null && (
        <>
          <Ports name={name} side="inputs" />
          <Ports name={name} side="outputs" />
          <p>Inside the subgraph, a link from or to “+” makes a new port.</p>
        </>
      )}
    </Dialog>
  );
}

function Ports({ name, side }: { name: string; side: Side }) {
  const catalogue = useCatalogue((state) => state.nodes);
  const workflow = useDocument((document) => document.workflow);
  const run = useDocument((document) => document.run);
  const ports = subgraphSpec(workflow, catalogue, name)[side];
  const rename = (port: string, to: string) => {
    if (to && to !== port) run(renamePort(name, side, port, to));
  };
  return (
    <section aria-label={side}>
      <h2>{side === "inputs" ? "Inputs" : "Outputs"}</h2>
      {!ports.length && <p>None.</p>}
      <div className={css.ports}>
        {ports.map(({ name: port, type }) => (
          <PortRow
            key={port}
            port={port}
            type={type}
            onRename={(to) => rename(port, to)}
            onRemove={() => run(removePort(name, side, port))}
          />
        ))}
      </div>
    </section>
  );
}

interface RowProps {
  port: string;
  type: string;
  onRename: (to: string) => void;
  onRemove: () => void;
}

function PortRow({ port, type, onRename, onRemove }: RowProps) {
  return (
    <>
      <TextField
        aria-label={`Name of ${port}`}
        defaultValue={port}
        onBlur={(event) => onRename(event.target.value.trim())}
        onKeyDown={(event) => event.key === "Enter" && onRename(event.currentTarget.value.trim())}
      />
      <span>{said(type)}</span>
      <IconButton label={`Remove ${port}`} onClick={onRemove}>
        <Trash2 size={15} />
      </IconButton>
    </>
  );
}
