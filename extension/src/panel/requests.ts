/** What became of a click: asked, perhaps waiting, taken, refused, and over once the snapshot shows its effect. */

import type { Snapshot } from "./snapshot";
import type { Action } from "./source";

/** After so long without an answer the reader is told what it waits for. */
export const PATIENCE_MS = 1500;
/** What Resume does about a run that nobody computes any more. */
export const AGAIN =
  "Runs the cells above, unless this kernel has run the cell already, then the cell; what is durable is restored.";
/** An answer has been read by then. */
const READ_MS = 20_000;

export interface Asked {
  readonly action: Action;
  readonly value: string;
  /** In ms since the epoch. */
  readonly at: number;
  /** Of the snapshot when it was clicked. */
  readonly attempts: number;
  readonly running: boolean;
  readonly stage: "sent" | "taken" | "refused";
  /** Why it was refused. */
  readonly words: string;
}

const NAMES: Readonly<Record<Action, string>> = {
  pause: "Pause",
  resume: "Resume",
  stop: "Stop",
  retry: "Retry",
  workers: "Limit",
  rate: "Limit",
  recompute: "Recompute",
  forget: "Forget",
};
const TAKEN: Readonly<Record<Action, string>> = {
  pause: "Pausing: calls that are running may end, and are kept.",
  resume: "Resuming.",
  stop: "Stopping: calls that are running may end, and are kept.",
  retry: "Retry taken: what failed is tried again.",
  workers: "Limit taken.",
  rate: "Limit taken.",
  recompute: "Recompute taken: the next run computes the results of the older code again.",
  forget: "Forgotten.",
};

/** A click, now. */
export function asked(action: Action, value: string, { attempts, state }: Snapshot, at: number): Asked {
  return { action, value, at, attempts, running: state === "running", stage: "sent", words: "" };
}

/** What the reader is told about it. */
export function answer({ action, at, running, stage, words }: Asked, now: number): string {
  if (stage === "refused") return words;
  if (stage === "taken") return TAKEN[action];
  if (now - at < PATIENCE_MS || action === "forget") return `${NAMES[action]} requested.`;
  if (action === "resume" && !running) return "Resume requested: the cells above run first, then this one.";
  const other = action === "stop" || action === "pause" ? ", or use the ■ button" : "";
  return `${NAMES[action]} requested; applies when the kernel is free${other}.`;
}

/** Whether nothing more is to be said about it. */
export function isOver(click: Asked, snapshot: Snapshot, now: number): boolean {
  const { action, value, at, stage } = click;
  if (stage !== "sent" && now - at > READ_MS) return true;
  if (stage === "refused") return false;
  const running = snapshot.state === "running";
  const anotherRun = snapshot.attempts !== click.attempts || (running && !click.running);
  switch (action) {
    case "pause":
      return snapshot.paused || !running;
    case "resume":
      return click.running ? !snapshot.paused || !running : anotherRun;
    case "stop":
      return !running;
    case "workers":
      return !running || snapshot.limit_workers === limit(value);
    case "rate":
      return !running || snapshot.per_minute === limit(value);
    default:
      return anotherRun;
  }
}

/** A limit as typed: its value for the run ("" for none), or what is wrong with it. */
export type Checked = { readonly value: string } | { readonly wrong: string };

/** `8`, `1,000` or nothing at all. */
export function checkedLimit(action: "workers" | "rate", typed: string): Checked {
  const text = typed.replace(/[,\s_]/g, "");
  if (text === "") return { value: "" };
  const number = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (action === "workers") {
    const fits = Number.isSafeInteger(number) && number >= 1;
    return fits ? { value: String(number) } : { wrong: "A whole number from 1, or empty for no limit." };
  }
  const fits = number > 0 && number <= 1e9;
  return fits ? { value: String(number) } : { wrong: "A number above 0, or empty for no limit." };
}

function limit(value: string): number | null {
  return value === "" ? null : Number(value);
}
