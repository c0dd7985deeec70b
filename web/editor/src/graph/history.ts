/** Undo and redo by patches: one command is one step, and its inverse is exact. */

import { applyPatches, enablePatches, type Patch, produceWithPatches } from "immer";
import type { Command, Workflow } from "./types";

enablePatches();

const BYTES_MAX = 32 * 2 ** 20; // by bytes, not steps: a pasted picture list weighs more than a thousand moves
const MERGE_MS = 1500;

/** A `merge` key that begins so joins however long the hand rests: it names one gesture. */
export const GESTURE = "gesture ";

export interface Step {
  readonly label: string;
  readonly merge: string | undefined;
  readonly at: number;
  readonly patches: readonly Patch[];
  readonly inverse: readonly Patch[];
  readonly bytes: number;
}

export interface History {
  readonly past: readonly Step[];
  readonly future: readonly Step[];
}

export interface Edited {
  readonly workflow: Workflow;
  readonly history: History;
}

export const NO_HISTORY: History = { past: [], future: [] };

/** Apply a command. A command that changes nothing leaves no step. */
export function execute(before: Edited, command: Command, now: number): Edited {
  const [workflow, patches, inverse] = produceWithPatches(before.workflow, (draft) => command.apply(draft));
  if (patches.length === 0) return before;
  const bytes = JSON.stringify(patches).length + JSON.stringify(inverse).length;
  const step: Step = { label: command.label, merge: command.merge, at: now, patches, inverse, bytes };
  return { workflow, history: { past: trim(append(before.history.past, step)), future: [] } };
}

/** Take the last step back; null if there is none. */
export function undo(now: Edited): (Edited & { label: string }) | null {
  const step = now.history.past.at(-1);
  if (!step) return null;
  const history = { past: now.history.past.slice(0, -1), future: [...now.history.future, step] };
  return { workflow: applyPatches(now.workflow, step.inverse), history, label: step.label };
}

/** Do the step again that was taken back last; null if there is none. */
export function redo(now: Edited): (Edited & { label: string }) | null {
  const step = now.history.future.at(-1);
  if (!step) return null;
  // A later edit must not merge into a step that was redone.
  const past = [...now.history.past, { ...step, merge: undefined }];
  const history = { past, future: now.history.future.slice(0, -1) };
  return { workflow: applyPatches(now.workflow, step.patches), history, label: step.label };
}

function append(past: readonly Step[], step: Step): Step[] {
  const last = past.at(-1);
  const isLate = !step.merge?.startsWith(GESTURE) && step.at - (last?.at ?? 0) > MERGE_MS;
  if (!last || step.merge === undefined || last.merge !== step.merge || isLate) return [...past, step];
  const joined = {
    ...step,
    patches: [...last.patches, ...step.patches],
    inverse: [...step.inverse, ...last.inverse],
    bytes: last.bytes + step.bytes,
  };
  return [...past.slice(0, -1), joined];
}

function trim(past: Step[]): Step[] {
  let bytes = past.reduce((sum, step) => sum + step.bytes, 0);
  let first = 0;
  while (bytes > BYTES_MAX && first < past.length - 1) bytes -= past[first++]?.bytes ?? 0;
  return first ? past.slice(first) : past;
}
