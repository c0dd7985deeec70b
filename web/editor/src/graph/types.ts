/** What a workflow and a catalogue of node types are, as plain data. The file format is `sfumato/1`. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

export interface InputSpec {
  readonly name: string;
  /** Socket types it takes, `A|B`. */
  readonly type: string;
  readonly required: boolean;
  readonly default: Json;
  readonly low: number | null;
  readonly high: number | null;
  readonly step: number | null;
  readonly choices: readonly string[] | null;
  readonly multiline: boolean;
  readonly max_length: number | null;
  /** The folder that this input names a file of. */
  readonly file: string | null;
  readonly widget: string | null;
  readonly widget_options: JsonObject;
  readonly lazy: boolean;
  readonly list: boolean;
  readonly help: string;
}

export interface OutputSpec {
  readonly name: string;
  readonly type: string;
  readonly list: boolean;
}

export interface NodeSpec {
  readonly id: string;
  readonly title: string;
  readonly category: string;
  readonly version: number;
  readonly doc: string;
  readonly inputs: readonly InputSpec[];
  readonly outputs: readonly OutputSpec[];
  readonly effect: boolean;
  /** It shows people something: saved pictures, text. */
  readonly output: boolean;
  readonly pack: string;
  /** Made up by the editor for a type that this server does not have. */
  readonly unknown?: boolean;
}

export type Catalogue = ReadonlyMap<string, NodeSpec>;
export type Mode = "run" | "mute" | "bypass";
export type NodeId = string;

/** A reference to a node's output; in a subgraph, node `@` gives its own inputs. */
export type Link = readonly [node: NodeId, output: string];

export interface WorkflowNode {
  type: string;
  /** Values and links by input name. */
  inputs: Record<string, Json>;
  mode?: Mode;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Box extends Point {
  readonly width: number;
  readonly height: number;
}

export interface NodeLayout {
  x: number;
  y: number;
  /** Set when somebody resized the node; else computed from its type. */
  width?: number;
  height?: number;
  title?: string;
  color?: string;
  collapsed?: boolean;
  /** Points that the link into an input is led through. */
  bends?: Record<string, Point[]>;
}

export interface Frame {
  x: number;
  y: number;
  width: number;
  height: number;
  title: string;
  color?: string;
}

export interface BodyLayout {
  nodes: Record<NodeId, NodeLayout>;
  frames?: Record<string, Frame>;
}

export interface Layout extends BodyLayout {
  /** Layouts inside subgraphs, by name: the engine reads nothing from here. */
  subgraphs?: Record<string, BodyLayout>;
}

export interface Subgraph {
  nodes: Record<NodeId, WorkflowNode>;
  /** Port -> default; null must be given. */
  inputs: Record<string, Json>;
  outputs: Record<string, Link>;
}

export interface FormField {
  node: NodeId;
  input: string;
  label?: string;
}

export interface Workflow {
  format: "sfumato/1";
  name: string;
  nodes: Record<NodeId, WorkflowNode>;
  subgraphs: Record<string, Subgraph>;
  layout: Layout;
  form: FormField[];
  /** Fields that we do not know and keep. */
  rest: Record<string, Json>;
}

/** The graph that is looked at: "" is the workflow itself, else the name of a subgraph. */
export type Scope = string;

/** One named change, one step of undo. Steps with the same `merge` that follow each other become one. */
export interface Command {
  readonly label: string;
  readonly merge?: string;
  readonly apply: (workflow: Workflow) => void;
}

/** A sentence about something that is wrong, and where. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly node?: string | undefined;
  readonly field?: string | undefined;
}
