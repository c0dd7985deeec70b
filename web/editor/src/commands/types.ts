import type { Catalogue, Scope } from "../graph/types";
import type { DocumentState } from "../state/documentStore";

export interface Context {
  readonly document: DocumentState;
  readonly catalogue: Catalogue;
  readonly scope: Scope;
  /** Selected nodes and frames of the scope. */
  readonly selection: readonly string[];
}

export interface Action {
  readonly id: string;
  readonly title: string;
  readonly group: "Edit" | "Node" | "Arrange" | "View" | "Run" | "Workflow";
  /** `Mod` is Ctrl, on a Mac Cmd. Several: any of them. */
  readonly keys?: readonly string[];
  /** Works while a text is being typed, too. */
  readonly global?: boolean;
  readonly when?: (context: Context) => boolean;
  readonly run: (context: Context) => void;
}
