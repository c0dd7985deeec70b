/** Every change of a workflow, as a named command. Builders are pure; `execute` in history.ts applies them. */

import { bodyOf, isLink, linksOf } from "./document";
import type {
  Command,
  FormField,
  Frame,
  Json,
  Link,
  Mode,
  NodeId,
  NodeLayout,
  NodeSpec,
  Point,
  Scope,
  Workflow,
  WorkflowNode,
} from "./types";

export interface NewNode {
  id: NodeId;
  node: WorkflowNode;
  place: NodeLayout;
}

/** Add nodes with their links among themselves and to others. */
export function addNodes(
  scope: Scope,
  nodes: readonly NewNode[],
  label = `add ${counted(nodes.length)}`,
): Command {
  return {
    label,
    apply: (workflow) => {
      const { nodes: into } = bodyOf(workflow, scope);
      for (const { id, node, place } of nodes) {
        into[id] = structuredClone(node);
        layoutOf(workflow, scope).nodes[id] = structuredClone(place);
      }
    },
  };
}

/** Remove nodes and every link from them; `heal` gives what hung on them the nodes' own sources in their place. */
export function removeNodes(
  scope: Scope,
  ids: readonly NodeId[],
  heal: (workflow: Workflow, link: Link) => Link | null = () => null,
): Command {
  return {
    label: `delete ${counted(ids.length)}`,
    apply: (workflow) => {
      const gone = new Set(ids);
      const { nodes } = bodyOf(workflow, scope);
      const repair = (link: Link) => repaired(link, gone, (l) => heal(workflow, l));
      for (const [id, node] of Object.entries(nodes)) {
        if (gone.has(id)) continue;
        for (const [input, link] of linksOf(node)) {
          if (!gone.has(link[0])) continue;
          const instead = repair(link);
          if (instead) node.inputs[input] = [...instead];
          else unlink(workflow, scope, id, input);
        }
      }
      const subgraph = workflow.subgraphs[scope];
      for (const [port, link] of Object.entries(subgraph?.outputs ?? {})) {
        if (!subgraph || !gone.has(link[0])) continue;
        const instead = repair(link);
        if (instead && instead[0] !== "@") subgraph.outputs[port] = [...instead];
        else delete subgraph.outputs[port];
      }
      for (const id of gone) {
        delete nodes[id];
        delete layoutOf(workflow, scope).nodes[id];
      }
      if (scope === "") workflow.form = workflow.form.filter((field) => !gone.has(field.node));
    },
  };
}

/** Set an input's value; typing into one field is one step. */
export function setInput(scope: Scope, id: NodeId, input: string, value: Json): Command {
  return {
    label: `change ${input}`,
    merge: `input ${scope}/${id}.${input}`,
    apply: (workflow) => {
      const node = bodyOf(workflow, scope).nodes[id];
      if (!node) return;
      if (!isLink(value)) unlink(workflow, scope, id, input);
      node.inputs[input] = value;
    },
  };
}

/** Give an input back its default. */
export function clearInput(scope: Scope, id: NodeId, input: string): Command {
  return {
    label: `reset ${input}`,
    apply: (workflow) => {
      unlink(workflow, scope, id, input);
      delete bodyOf(workflow, scope).nodes[id]?.inputs[input];
    },
  };
}

/** Link an output to an input, in place of what was there. */
export function connect(scope: Scope, from: Link, to: { node: NodeId; input: string }): Command {
  return {
    label: `link ${to.input}`,
    apply: (workflow) => {
      const node = bodyOf(workflow, scope).nodes[to.node];
      if (!node) return;
      unlink(workflow, scope, to.node, to.input);
      node.inputs[to.input] = [...from];
    },
  };
}

/** Remove the links into some inputs. */
export function disconnect(scope: Scope, targets: readonly { node: NodeId; input: string }[]): Command {
  return {
    label: targets.length === 1 ? `unlink ${targets[0]?.input}` : `remove ${targets.length} links`,
    apply: (workflow) => {
      for (const { node, input } of targets) unlink(workflow, scope, node, input);
    },
  };
}

/** Put nodes and frames at new places. */
export function place(
  scope: Scope,
  nodes: Readonly<Record<NodeId, Point>>,
  frames: Readonly<Record<string, Point>> = {},
  label = `move ${counted(Object.keys(nodes).length)}`,
): Command {
  return {
    label,
    apply: (workflow) => {
      const layout = layoutOf(workflow, scope);
      for (const [id, to] of Object.entries(nodes)) {
        const at = layout.nodes[id];
        if (!at) layout.nodes[id] = { ...to };
        else if (at.x !== to.x || at.y !== to.y) Object.assign(at, to);
      }
      for (const [id, { x, y }] of Object.entries(frames)) {
        const frame = layout.frames?.[id];
        if (frame && (frame.x !== x || frame.y !== y)) Object.assign(frame, { x, y });
      }
    },
  };
}

export interface Look {
  width?: number;
  height?: number;
  title?: string;
  color?: string;
  collapsed?: boolean;
}

/** Change how nodes look: size, title, colour, folded. An empty text or `false` takes the setting away. */
export function setLook(scope: Scope, ids: readonly NodeId[], look: Look, label: string): Command {
  return {
    label,
    apply: (workflow) => {
      for (const id of ids) {
        const at = layoutOf(workflow, scope).nodes[id];
        if (at) Object.assign(at, look);
        if (at && !at.collapsed) delete at.collapsed;
        if (at && !at.title) delete at.title;
        if (at && !at.color) delete at.color;
      }
    },
  };
}

/** Let nodes run, mute them or pass their inputs through. */
export function setMode(scope: Scope, ids: readonly NodeId[], mode: Mode): Command {
  return {
    label: `${mode} ${counted(ids.length)}`,
    apply: (workflow) => {
      for (const id of ids) {
        const node = bodyOf(workflow, scope).nodes[id];
        if (!node) continue;
        if (mode === "run") delete node.mode;
        else node.mode = mode;
      }
    },
  };
}

/** Put another type in a node's place: values and links that it has too stay, by name. */
export function retype(scope: Scope, id: NodeId, to: NodeSpec): Command {
  return {
    label: `replace ${id}`,
    apply: (workflow) => {
      const node = bodyOf(workflow, scope).nodes[id];
      if (!node) return;
      node.type = to.id;
      for (const name of Object.keys(node.inputs))
        if (!to.inputs.some((input) => input.name === name)) delete node.inputs[name];
    },
  };
}

/** Lead the link into an input through points (none: straight again). */
export function bend(scope: Scope, id: NodeId, input: string, points: readonly Point[]): Command {
  return {
    label: "bend link",
    apply: (workflow) => {
      const at = layoutOf(workflow, scope).nodes[id];
      if (!at) return;
      at.bends ??= {};
      if (points.length) at.bends[input] = points.map(({ x, y }) => ({ x, y }));
      else delete at.bends[input];
      if (!Object.keys(at.bends).length) delete at.bends;
    },
  };
}

/** Add or change a frame; null removes it, not what is in it. */
export function setFrame(scope: Scope, id: string, frame: Frame | null, label = "change frame"): Command {
  return {
    label,
    apply: (workflow) => {
      const layout = layoutOf(workflow, scope);
      layout.frames ??= {};
      if (frame) layout.frames[id] = { ...frame };
      else delete layout.frames[id];
      if (!Object.keys(layout.frames).length) delete layout.frames;
    },
  };
}

/** Name the workflow. */
export function rename(name: string): Command {
  return {
    label: "rename workflow",
    merge: "name",
    apply: (workflow) => {
      workflow.name = name;
    },
  };
}

/** Choose the inputs of the form view. */
export function setForm(form: readonly FormField[]): Command {
  return {
    label: "change form",
    apply: (workflow) => {
      workflow.form = form.map((field) => ({ ...field }));
    },
  };
}

/** Do several commands as one step. */
export function all(label: string, commands: readonly Command[]): Command {
  return {
    label,
    apply: (workflow) => {
      for (const command of commands) command.apply(workflow);
    },
  };
}

/** Return the layout of a scope, made if it is missing. Only inside a command. */
export function layoutOf(workflow: Workflow, scope: Scope) {
  if (scope === "") return workflow.layout;
  workflow.layout.subgraphs ??= {};
  workflow.layout.subgraphs[scope] ??= { nodes: {} };
  return workflow.layout.subgraphs[scope];
}

/** Say "3 nodes" or "node". */
export function counted(count: number, word = "node"): string {
  return count === 1 ? word : `${count} ${word}s`;
}

/** Remove a link with its bends. Only inside a command. */
export function unlink(workflow: Workflow, scope: Scope, id: NodeId, input: string): void {
  const node = bodyOf(workflow, scope).nodes[id];
  if (node && isLink(node.inputs[input])) delete node.inputs[input];
  const at = layoutOf(workflow, scope).nodes[id];
  if (at?.bends?.[input]) {
    delete at.bends[input];
    if (!Object.keys(at.bends).length) delete at.bends;
  }
}

/** Follow a link through nodes that go away until one stays. */
function repaired(link: Link, gone: ReadonlySet<NodeId>, heal: (link: Link) => Link | null): Link | null {
  let found: Link | null = link;
  for (let step = 0; found && gone.has(found[0]) && step <= gone.size; step += 1) found = heal(found);
  return found && !gone.has(found[0]) ? found : null;
}
