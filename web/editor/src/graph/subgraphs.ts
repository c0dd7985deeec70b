/** Making, dissolving and editing subgraphs. A port has a name and the type of what is behind it. */

import { counted, layoutOf, unlink } from "./commands";
import { bodyOf, freshId, isLink, linksOf, OWN, SUBGRAPH } from "./document";
import type { Command, Json, Link, NodeId, NodeLayout, Point, Scope, Workflow } from "./types";

/** Put nodes into a new subgraph with an instance in their place; links across its edge become ports. */
export function group(scope: Scope, ids: readonly NodeId[], name: string, instance: NodeId): Command {
  return {
    label: `group ${counted(ids.length)}`,
    apply: (workflow) => {
      const body = bodyOf(workflow, scope);
      const inside = new Set(ids.filter((id) => id in body.nodes));
      if (!inside.size || name in workflow.subgraphs) return;
      const inputs: Record<string, Json> = {};
      const given: Record<string, Json> = {};
      const ports = new Map<string, string>();
      const nodes: Workflow["nodes"] = {};
      for (const id of inside) {
        const node = body.nodes[id];
        if (!node) continue;
        nodes[id] = JSON.parse(JSON.stringify(node));
        for (const [input, link] of linksOf(node)) {
          if (inside.has(link[0])) continue;
          const from = link.join("\n");
          const port = ports.get(from) ?? freshId(inputs, input);
          ports.set(from, port);
          inputs[port] = null;
          given[port] = [...link];
          const copy = nodes[id];
          if (copy) copy.inputs[input] = [OWN, port];
        }
      }
      const outputs: Record<string, Link> = {};
      const places = [...inside].flatMap((id) => body.layout.nodes[id] ?? []);
      const corner = {
        x: Math.min(...places.map((p) => p.x)),
        y: Math.min(...places.map((p) => p.y)),
      };
      const outside = (link: Link): Link | null => {
        if (!inside.has(link[0])) return null;
        const known = Object.entries(outputs).find(([, l]) => l[0] === link[0] && l[1] === link[1]);
        const port = known?.[0] ?? freshId(outputs, link[1]);
        outputs[port] = [link[0], link[1]];
        return [instance, port];
      };
      rewire(workflow, scope, inside, outside);
      const inner: Record<NodeId, NodeLayout> = {};
      for (const id of inside) {
        const place = body.layout.nodes[id];
        if (place)
          inner[id] = { ...JSON.parse(JSON.stringify(place)), x: place.x - corner.x, y: place.y - corner.y };
        delete body.nodes[id];
        delete layoutOf(workflow, scope).nodes[id];
      }
      workflow.subgraphs[name] = { nodes, inputs, outputs };
      layoutOf(workflow, name).nodes = inner;
      body.nodes[instance] = { type: SUBGRAPH + name, inputs: given };
      layoutOf(workflow, scope).nodes[instance] = Number.isFinite(corner.x) ? corner : { x: 0, y: 0 };
      if (scope === "") workflow.form = workflow.form.filter((field) => !inside.has(field.node));
    },
  };
}

/** Put a subgraph's nodes in place of an instance. */
export function ungroup(scope: Scope, id: NodeId): Command {
  return {
    label: "ungroup",
    apply: (workflow) => {
      const body = bodyOf(workflow, scope);
      const instance = body.nodes[id];
      const name = instance?.type.slice(SUBGRAPH.length) ?? "";
      const inner = workflow.subgraphs[name];
      if (!instance?.type.startsWith(SUBGRAPH) || !inner) return;
      const names = new Map<NodeId, NodeId>();
      const taken: Record<string, unknown> = { ...body.nodes };
      for (const old of Object.keys(inner.nodes)) {
        const fresh = freshId(taken, old);
        names.set(old, fresh);
        taken[fresh] = true;
      }
      const corner = body.layout.nodes[id] ?? { x: 0, y: 0 };
      const places = bodyOf(workflow, name).layout.nodes;
      for (const [old, fresh] of names) {
        const node = JSON.parse(JSON.stringify(inner.nodes[old]));
        for (const [input, link] of linksOf(node)) {
          if (link[0] !== OWN) node.inputs[input] = [names.get(link[0]) ?? link[0], link[1]];
          else {
            const value = instance.inputs[link[1]] ?? inner.inputs[link[1]] ?? null;
            if (value === null) delete node.inputs[input];
            else node.inputs[input] = isLink(value) ? [...value] : value;
          }
        }
        body.nodes[fresh] = node;
        const place = places[old] ?? { x: 0, y: 0 };
        layoutOf(workflow, scope).nodes[fresh] = shifted(place, corner.x, corner.y);
        dropBends(workflow, scope, fresh);
      }
      const behind = (link: Link): Link | null => {
        const source = link[0] === id ? inner.outputs[link[1]] : undefined;
        return source ? [names.get(source[0]) ?? source[0], source[1]] : null;
      };
      rewire(workflow, scope, new Set([id]), behind);
      for (const [other, node] of Object.entries(body.nodes))
        for (const [input, link] of linksOf(node)) if (link[0] === id) unlink(workflow, scope, other, input);
      delete body.nodes[id];
      delete layoutOf(workflow, scope).nodes[id];
      if (scope === "") workflow.form = workflow.form.filter((field) => field.node !== id);
      dropUnused(workflow, name);
    },
  };
}

/** Give an input inside a subgraph a port of its own; what it held becomes the port's default. */
export function addInputPort(name: string, target: { node: NodeId; input: string }, port: string): Command {
  return {
    label: `add port ${port}`,
    apply: (workflow) => {
      const subgraph = workflow.subgraphs[name];
      const node = subgraph?.nodes[target.node];
      if (!subgraph || !node || port in subgraph.inputs) return;
      const value = node.inputs[target.input];
      subgraph.inputs[port] = value === undefined || isLink(value) ? null : value;
      node.inputs[target.input] = [OWN, port];
    },
  };
}

/** Give an output inside a subgraph a port of its own. */
export function addOutputPort(name: string, from: Link, port: string): Command {
  return {
    label: `add port ${port}`,
    apply: (workflow) => {
      const subgraph = workflow.subgraphs[name];
      if (subgraph && !(port in subgraph.outputs)) subgraph.outputs[port] = [...from];
    },
  };
}

/** Rename a port, here and on all instances. */
export function renamePort(name: string, side: "inputs" | "outputs", port: string, to: string): Command {
  return {
    label: `rename port ${port}`,
    apply: (workflow) => {
      const subgraph = workflow.subgraphs[name];
      if (!subgraph || !to || to in subgraph[side] || !(port in subgraph[side])) return;
      if (side === "inputs") {
        subgraph.inputs = renamed(subgraph.inputs, port, to);
        relink(subgraph.nodes, (link) => (link[0] === OWN && link[1] === port ? [OWN, to] : null));
      } else subgraph.outputs = renamed(subgraph.outputs, port, to);
      for (const [scope, id] of instances(workflow, name)) {
        const node = bodyOf(workflow, scope).nodes[id];
        const place = layoutOf(workflow, scope).nodes[id];
        if (node && side === "inputs" && port in node.inputs) node.inputs = renamed(node.inputs, port, to);
        if (place?.bends && side === "inputs") place.bends = renamed(place.bends, port, to);
        if (side === "outputs")
          rewire(workflow, scope, new Set(), (l) => (l[0] === id && l[1] === port ? [id, to] : null));
      }
    },
  };
}

/** Remove a port with all links to it, inside and on all instances. */
export function removePort(name: string, side: "inputs" | "outputs", port: string): Command {
  return {
    label: `remove port ${port}`,
    apply: (workflow) => {
      const subgraph = workflow.subgraphs[name];
      if (!subgraph) return;
      delete subgraph[side][port];
      if (side === "inputs")
        for (const [id, node] of Object.entries(subgraph.nodes))
          for (const [input, link] of linksOf(node))
            if (link[0] === OWN && link[1] === port) unlink(workflow, name, id, input);
      for (const [scope, id] of instances(workflow, name)) {
        if (side === "inputs") {
          unlink(workflow, scope, id, port);
          delete bodyOf(workflow, scope).nodes[id]?.inputs[port];
        } else dropLinks(workflow, scope, [id, port]);
      }
    },
  };
}

/** Return a name for a new subgraph that is not taken. */
export function freshGroup(workflow: Workflow, wish = "group"): string {
  return freshId(workflow.subgraphs, wish);
}

/** Say whether a subgraph holds itself or another one in which it is. */
export function nests(workflow: Workflow, outer: string, inner: string, depth = 0): boolean {
  if (outer === inner) return true;
  if (depth > 64) return true;
  return Object.values(workflow.subgraphs[inner]?.nodes ?? {}).some(
    (node) =>
      node.type.startsWith(SUBGRAPH) && nests(workflow, outer, node.type.slice(SUBGRAPH.length), depth + 1),
  );
}

function instances(workflow: Workflow, name: string): [scope: Scope, id: NodeId][] {
  const found: [Scope, NodeId][] = [];
  for (const scope of ["", ...Object.keys(workflow.subgraphs)])
    for (const [id, node] of Object.entries(bodyOf(workflow, scope).nodes))
      if (node.type === SUBGRAPH + name) found.push([scope, id]);
  return found;
}

/** Return a copy of a node's place, moved with the bends of its links. */
function shifted(place: NodeLayout, x: number, y: number): NodeLayout {
  const copy: NodeLayout = JSON.parse(JSON.stringify(place));
  const moved = (p: Point): Point => ({ x: p.x + x, y: p.y + y });
  const bends = Object.entries(copy.bends ?? {}).map(
    ([input, points]) => [input, points.map(moved)] as const,
  );
  return { ...copy, ...moved(copy), ...(copy.bends ? { bends: Object.fromEntries(bends) } : {}) };
}

/** Bends of what is no link any more go. */
function dropBends(workflow: Workflow, scope: Scope, id: NodeId): void {
  const bends = layoutOf(workflow, scope).nodes[id]?.bends ?? {};
  const node = bodyOf(workflow, scope).nodes[id];
  for (const input of Object.keys(bends)) if (!isLink(node?.inputs[input])) delete bends[input];
}

function dropUnused(workflow: Workflow, name: string): void {
  if (instances(workflow, name).length) return;
  delete workflow.subgraphs[name];
  if (workflow.layout.subgraphs) delete workflow.layout.subgraphs[name];
}

/** Change the links of a scope's nodes (but not of those `except`) and of its outputs. */
function rewire(
  workflow: Workflow,
  scope: Scope,
  except: ReadonlySet<NodeId>,
  to: (link: Link) => Link | null,
): void {
  const kept = Object.entries(bodyOf(workflow, scope).nodes).filter(([id]) => !except.has(id));
  relink(Object.fromEntries(kept), to);
  const outputs = workflow.subgraphs[scope]?.outputs ?? {};
  for (const [port, link] of Object.entries(outputs)) {
    const next = to(link);
    if (next) outputs[port] = [...next];
  }
}

function relink(nodes: Workflow["nodes"], to: (link: Link) => Link | null): void {
  for (const node of Object.values(nodes))
    for (const [input, link] of linksOf(node)) {
      const next = to(link);
      if (next) node.inputs[input] = [...next];
    }
}

function dropLinks(workflow: Workflow, scope: Scope, from: Link): void {
  for (const [id, node] of Object.entries(bodyOf(workflow, scope).nodes))
    for (const [input, link] of linksOf(node))
      if (link[0] === from[0] && link[1] === from[1]) unlink(workflow, scope, id, input);
  const outputs = workflow.subgraphs[scope]?.outputs ?? {};
  for (const [port, link] of Object.entries(outputs))
    if (link[0] === from[0] && link[1] === from[1]) delete outputs[port];
}

function renamed<T>(record: Record<string, T>, from: string, to: string): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key === from ? to : key, value]));
}
