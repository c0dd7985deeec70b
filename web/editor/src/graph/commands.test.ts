import fc from "fast-check";
import { expect, test } from "vitest";
import { copyText, pasteText } from "./clipboard";
import * as commands from "./commands";
import { bodyOf, freshId, isLink, linksOf, OWN } from "./document";
import { CATALOGUE, chain } from "./fixtures";
import { type Edited, execute, NO_HISTORY, redo, undo } from "./history";
import { checkLink, dependsOn, passedThrough, specOf } from "./links";
import { replacements } from "./search";
import { addInputPort, addOutputPort, freshGroup, group, removePort, renamePort, ungroup } from "./subgraphs";
import type { Command, Link, Workflow } from "./types";

/** What must hold of every workflow that commands made; each broken rule is a sentence. */
function broken(workflow: Workflow): string[] {
  const found: string[] = [];
  for (const scope of ["", ...Object.keys(workflow.subgraphs)]) {
    const { nodes, layout } = bodyOf(workflow, scope);
    const ports = workflow.subgraphs[scope]?.inputs ?? {};
    for (const [id, node] of Object.entries(nodes)) {
      if (!layout.nodes[id]) found.push(`${scope}/${id} has no place`);
      for (const [input, [source, output]] of linksOf(node)) {
        const isThere = source === OWN ? output in ports : source in nodes;
        if (!isThere) found.push(`${scope}/${id}.${input} hangs on ${source}`);
        if (source !== OWN && dependsOn(workflow, scope, source, id))
          found.push(`${scope}/${id} is in a circle`);
      }
      for (const input of Object.keys(layout.nodes[id]?.bends ?? {}))
        if (!isLink(node.inputs[input])) found.push(`${scope}/${id}.${input} has bends and no link`);
    }
    for (const id of Object.keys(layout.nodes))
      if (!(id in nodes)) found.push(`${scope}/${id} is a place of nothing`);
    for (const [port, [source]] of Object.entries(workflow.subgraphs[scope]?.outputs ?? {}))
      if (!(source in nodes)) found.push(`port ${scope}.${port} hangs on ${source}`);
  }
  for (const field of workflow.form)
    if (!(field.node in workflow.nodes)) found.push(`form shows ${field.node}`);
  return found;
}

const pick = <T>(items: readonly T[], at: number): T | undefined => items[at % Math.max(1, items.length)];

/** Turn random numbers into a command that a person could give on this workflow. */
function commandFor(
  workflow: Workflow,
  [kind, a, b, c]: readonly [number, number, number, number],
): Command | null {
  const scope = pick(["", ...Object.keys(workflow.subgraphs)], c) ?? "";
  const { nodes, layout } = bodyOf(workflow, scope);
  const ids = Object.keys(nodes);
  const id = pick(ids, a);
  const other = pick(ids, b);
  const group_ = pick(Object.keys(workflow.subgraphs), a);
  const some = ids.filter((_, n) => (a >> (n % 8)) & 1);
  const heal = (draft: Workflow, link: Link): Link | null => {
    const output = specOf(draft, CATALOGUE, scope, link[0]).outputs.find((o) => o.name === link[1]);
    const target = output && passedThrough(draft, CATALOGUE, scope, link[0], output);
    const value = target ? bodyOf(draft, scope).nodes[target.node]?.inputs[target.input] : undefined;
    return isLink(value) ? value : null;
  };
  switch (kind % 16) {
    case 0: {
      const type = pick([...CATALOGUE.keys()], b) ?? "any";
      return commands.addNodes(scope, [
        { id: freshId(nodes, type), node: { type, inputs: {} }, place: { x: a, y: b } },
      ]);
    }
    case 1:
      return id ? commands.removeNodes(scope, some.length ? some : [id]) : null;
    case 2:
      return id ? commands.removeNodes(scope, [id], heal) : null;
    case 3:
      return id ? commands.setInput(scope, id, "size", a / 7) : null;
    case 4: {
      if (!id || !other) return null;
      const output = pick(specOf(workflow, CATALOGUE, scope, id).outputs, a)?.name ?? "?";
      const input = pick(specOf(workflow, CATALOGUE, scope, other).inputs, b)?.name ?? "?";
      const verdict = checkLink(workflow, CATALOGUE, scope, [id, output], { node: other, input });
      return verdict.ok ? commands.connect(scope, [id, output], { node: other, input }) : null;
    }
    case 5: {
      const link = id && nodes[id] ? linksOf(nodes[id])[0] : undefined;
      return id && link ? commands.disconnect(scope, [{ node: id, input: link[0] }]) : null;
    }
    case 6:
      return id ? commands.place(scope, { [id]: { x: a, y: b } }) : null;
    case 7:
      return id ? commands.setMode(scope, [id], pick(["run", "mute", "bypass"] as const, b) ?? "run") : null;
    case 8: {
      const link = id && nodes[id] ? linksOf(nodes[id])[0] : undefined;
      return id && link ? commands.bend(scope, id, link[0], b % 3 ? [{ x: a, y: b }] : []) : null;
    }
    case 9:
      return commands.setFrame(scope, freshId(layout.frames ?? {}, "frame"), {
        x: a,
        y: b,
        width: 200,
        height: 100,
        title: "",
      });
    case 10: {
      const name = freshGroup(workflow);
      // Somebody can only group what leads nowhere out and in again.
      const path = some.some((x) =>
        some.some((y) =>
          ids.some(
            (o) => !some.includes(o) && dependsOn(workflow, scope, x, o) && dependsOn(workflow, scope, o, y),
          ),
        ),
      );
      return some.length && !path ? group(scope, some, name, freshId(nodes, name)) : null;
    }
    case 11:
      return id ? ungroup(scope, id) : null;
    case 12:
      return (
        pasteText(copyText(workflow, scope, some), workflow, scope, { x: a, y: b }, b % 2 === 0)?.command ??
        null
      );
    case 13:
      return scope && id
        ? addInputPort(
            scope,
            { node: id, input: "size" },
            freshId(workflow.subgraphs[scope]?.inputs ?? {}, "size"),
          )
        : null;
    case 14: {
      const port = pick(Object.keys(workflow.subgraphs[group_ ?? ""]?.inputs ?? {}), b);
      if (!group_ || !port) return null;
      return c % 2 ? renamePort(group_, "inputs", port, `port${a}`) : removePort(group_, "inputs", port);
    }
    default: {
      const port = pick(Object.keys(workflow.subgraphs[group_ ?? ""]?.outputs ?? {}), b);
      if (scope && id && a % 3 === 0)
        return addOutputPort(
          scope,
          [id, specOf(workflow, CATALOGUE, scope, id).outputs[0]?.name ?? "x"],
          `out${a}`,
        );
      if (!group_ || !port) return null;
      return c % 2 ? renamePort(group_, "outputs", port, `port${a}`) : removePort(group_, "outputs", port);
    }
  }
}

const gestures = fc.array(fc.tuple(fc.nat(15), fc.nat(255), fc.nat(255), fc.nat(255)), { maxLength: 40 });

test("any commands, undo all, redo all: the same, and the rules hold after each", () => {
  fc.assert(
    fc.property(gestures, (list) => {
      const start = chain();
      let now: Edited = { workflow: start, history: NO_HISTORY };
      let clock = 0;
      for (const gesture of list) {
        const command = commandFor(now.workflow, gesture);
        clock += 10_000;
        if (command) now = execute(now, command, clock);
        expect(broken(now.workflow)).toEqual([]);
      }
      const end = JSON.stringify(now.workflow);
      const steps = now.history.past.length;
      let back: Edited = now;
      for (let before = undo(back); before; before = undo(back)) back = before;
      expect(JSON.stringify(sorted(back.workflow))).toBe(JSON.stringify(sorted(start)));
      let forth: Edited = back;
      for (let after = redo(forth); after; after = redo(forth)) forth = after;
      expect(JSON.stringify(sorted(forth.workflow))).toBe(JSON.stringify(sorted(JSON.parse(end))));
      expect(forth.history.past.length).toBe(steps);
    }),
    { numRuns: 150 },
  );
});

/** The order of keys is not part of a workflow. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, sorted(v)]));
}

function run(workflow: Workflow, command: Command): Workflow {
  return execute({ workflow, history: NO_HISTORY }, command, 0).workflow;
}

test("typing into one field is one step, into two fields two", () => {
  let now: Edited = { workflow: chain(), history: NO_HISTORY };
  for (const [field, text, at] of [
    ["text", "a", 0],
    ["text", "ab", 100],
    ["text", "abc", 200],
    ["other", "x", 300],
  ] as const)
    now = execute(now, commands.setInput("", "text", field, text), at);
  expect(now.history.past.map((step) => step.label)).toEqual(["change text", "change other"]);
  const back = undo(undo(now) ?? now);
  expect(back?.workflow.nodes.text?.inputs.text).toBe("a cat");
});

test("a pause starts a new step", () => {
  let now: Edited = { workflow: chain(), history: NO_HISTORY };
  now = execute(now, commands.setInput("", "text", "text", "a"), 0);
  now = execute(now, commands.setInput("", "text", "text", "b"), 5000);
  expect(now.history.past.length).toBe(2);
});

test("removing a node takes its links along; healing closes the chain", () => {
  const cut = run(chain(), commands.removeNodes("", ["blur"]));
  expect(cut.nodes.last?.inputs.image).toBeUndefined();
  const heal = (): Link => ["decode", "image"];
  const healed = run(chain(), commands.removeNodes("", ["blur"], heal));
  expect(healed.nodes.last?.inputs.image).toEqual(["decode", "image"]);
});

test("grouping and dissolving gives the same graph", () => {
  const before = chain();
  const grouped = run(before, group("", ["sample", "decode"], "core", "core"));
  expect(Object.keys(grouped.subgraphs.core?.inputs ?? {})).toEqual(["model", "positive", "vae"]);
  expect(grouped.nodes.blur?.inputs.image).toEqual(["core", "image"]);
  const after = run(grouped, ungroup("", "core"));
  expect(sorted(after.nodes)).toEqual(sorted(before.nodes));
  expect(after.subgraphs).toEqual({});
});

test("renaming a port keeps every link", () => {
  const grouped = run(chain(), group("", ["sample", "decode"], "core", "core"));
  const renamed = run(
    run(grouped, renamePort("core", "outputs", "image", "picture")),
    renamePort("core", "inputs", "model", "net"),
  );
  expect(renamed.nodes.blur?.inputs.image).toEqual(["core", "picture"]);
  expect(renamed.nodes.core?.inputs.net).toEqual(["load", "model"]);
  expect(renamed.subgraphs.core?.nodes.sample?.inputs.model).toEqual([OWN, "net"]);
  expect(broken(renamed)).toEqual([]);
});

test("a paste is one step, with links among the copies and, if wanted, from outside", () => {
  const text = copyText(chain(), "", ["decode", "blur"]);
  const plain = pasteText(text, chain(), "", { x: 0, y: 500 }, false);
  const linked = pasteText(text, chain(), "", { x: 0, y: 500 }, true);
  if (!plain || !linked) throw new Error("it is ours");
  expect(plain.ids).toEqual(["decode_2", "blur_2"]);
  const alone = run(chain(), plain.command).nodes;
  expect(alone.blur_2?.inputs.image).toEqual(["decode_2", "image"]);
  expect(alone.decode_2?.inputs.latent).toBeUndefined();
  expect(run(chain(), linked.command).nodes.decode_2?.inputs.latent).toEqual(["sample", "latent"]);
});

test("foreign text is no paste", () => {
  for (const text of ["hello", "{}", '{"format":"other"}', "sfumato/clipboard", '"sfumato/1"'])
    expect(pasteText(text, chain(), "", null, false)).toBeNull();
});

test("another node in the place of one keeps values and links by name, and drops what it does not take", () => {
  const to = {
    ...spec("text"),
    id: "words",
    inputs: spec("text").inputs.filter((input) => input.name !== "text"),
  };
  const after = execute({ workflow: chain(), history: NO_HISTORY }, commands.retype("", "text", to), 0);
  expect(after.workflow.nodes.text).toEqual({ type: "words", inputs: { clip: ["load", "clip"] } });
  expect(after.workflow.nodes.sample).toEqual(chain().nodes.sample);
  expect(undo(after)?.workflow.nodes).toEqual(chain().nodes);
  const given = (id: string) => replacements(CATALOGUE.values(), spec(id)).map((one) => one.id);
  expect(given("sample")).toEqual(["sample", "vae_encode"]);
  expect(given("load")).toEqual(["load"]);
});

function spec(id: string) {
  const found = CATALOGUE.get(id);
  if (!found) throw new Error(id);
  return found;
}
