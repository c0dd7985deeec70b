import { passedThrough } from "../graph/links";
import type { Shape } from "../graph/size";
import type { NodeSpec } from "../graph/types";
import { useCatalogue } from "../state/catalogueStore";
import { useDocument } from "../state/tabs";
import { useScope } from "../state/viewStore";
import css from "./canvas.module.css";
import { linkPath } from "./linkPath";
import { colorOf } from "./typeLook";

/** Inside a bypassed node: the links from each output to the input that takes its place. */
export function PassThrough({ id, shape, spec }: { id: string; shape: Shape; spec: NodeSpec }) {
  const catalogue = useCatalogue((state) => state.nodes);
  const workflow = useDocument((document) => document.workflow);
  const scope = useScope();
  return (
    <svg className={css.through} width={shape.width} height={shape.height} aria-hidden="true">
      {spec.outputs.map((output) => {
        const target = passedThrough(workflow, catalogue, scope, id, output);
        const from = shape.sockets.find((s) => s.side === "input" && s.name === target?.input);
        const to = shape.sockets.find((s) => s.side === "output" && s.name === output.name);
        if (!from || !to) return null;
        return (
          <path
            key={output.name}
            d={linkPath(from, [], to)}
            fill="none"
            stroke={colorOf(output.type)}
            strokeWidth={2}
          />
        );
      })}
    </svg>
  );
}
