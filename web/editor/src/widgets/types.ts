import type { ComponentType } from "react";
import type { InputSpec, Json, NodeId, Scope } from "../graph/types";

/** What every widget gets, in a node, in the inspector and in the form. */
export interface WidgetProps {
  readonly spec: InputSpec;
  /** The value in force: what the file says, else the default. */
  readonly value: Json;
  /** Whether the file says it; if not, `value` is the default. */
  readonly isSet: boolean;
  readonly onChange: (value: Json) => void;
  /** Back to the default. */
  readonly onReset: () => void;
  readonly disabled: boolean;
  /** The control's `id`, for its label; and its name where no label is near. */
  readonly id: string;
  readonly label: string;
  /** Where it stands: `node` is one row (or `rows` of them), the others have room. */
  readonly place: "node" | "inspector" | "form";
  /** The node it belongs to, for widgets that look at other inputs (a mask at the picture under it). */
  readonly at?: { readonly scope: Scope; readonly node: NodeId };
}

export interface WidgetKind {
  readonly component: ComponentType<WidgetProps>;
  /** Height in a node, in rows of 28 px; 1 shows the label before the control. Known before anything is drawn. */
  readonly rows: number;
}
