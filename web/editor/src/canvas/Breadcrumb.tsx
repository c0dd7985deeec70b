import { ChevronRight } from "lucide-react";
import { useDocument } from "../state/tabs";
import { useView } from "../state/viewStore";
import { Button } from "../ui/Button";
import css from "./canvas.module.css";

/** Where in the subgraphs we are, and the way back. */
export function Breadcrumb() {
  const path = useView((view) => view.path);
  const leaveTo = useView((view) => view.leaveTo);
  const name = useDocument((document) => document.workflow.name);
  if (!path.length) return null;
  const steps = [name, ...path.map((entered) => entered.scope)];
  return (
    <nav className={css.breadcrumb} aria-label="Subgraphs">
      {steps.map((step, depth) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the same subgraph may come twice on the way
        <span key={depth}>
          {depth > 0 && <ChevronRight size={14} aria-hidden="true" />}
          <Button look="plain" aria-current={depth === path.length} onClick={() => leaveTo(depth)}>
            {step}
          </Button>
        </span>
      ))}
    </nav>
  );
}
