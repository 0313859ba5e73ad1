/** What the head of the panel says, as pure functions of a snapshot and of how long it has been silent. */

import { ago, amount, count, duration, NONE, speed } from "./format";
import { type End, isEnd, type Snapshot } from "./snapshot";
import { line } from "./text";

/** Whole per cents that are durable, rounded down so that 100 means all; null while the total is not known. */
export function percentage({ total, durable }: Snapshot): number | null {
  if (total === null) return null;
  return total === 0 ? 100 : Math.min(100, Math.floor((100 * durable) / total));
}

/** `4,000 / 10,000` */
export function headline({ durable, total }: Snapshot): string {
  return total === null ? `${count(durable)} durable` : `${count(durable)} / ${count(total)}`;
}

/** What a screen reader says about the bar, and once when the state changes. */
export function spoken({ durable, total, failed }: Snapshot): string {
  return `${count(durable)}${total === null ? "" : ` of ${count(total)}`} durable, ${count(failed)} failed`;
}

export type Share = "restored" | "computed" | "failed" | "running";
export const SHARES: readonly Share[] = ["restored", "computed", "failed", "running"];

/** Per cent of the bar that each kind takes; together at most 100, whatever the counts say. */
export function shares(snapshot: Snapshot): Readonly<Record<Share, number>> {
  const busy = snapshot.state === "running" ? snapshot.running : 0;
  const seen = snapshot.durable + snapshot.failed + busy;
  // An input that shrank has more results than documents; without a total the bar shows proportions only.
  const whole = Math.max(snapshot.total ?? 0, seen, 1);
  const share = (n: number) => (100 * n) / whole;
  return {
    restored: share(snapshot.restored),
    computed: share(snapshot.computed),
    failed: share(snapshot.failed),
    running: share(busy),
  };
}

/** A comm speaks every 2 s, even when nothing changes. */
export const SILENT_AFTER_MS = 15_000;
/** The run writes a heartbeat every 5 s, and keeps its lease for 30 s without one. */
export const MISSED_AFTER_S = 20;
/** `gone`: the kernel is; `cut`: nobody can be asked how it stands. */
export type Liveness = "live" | "silent" | "gone" | "cut" | "over";

/** Whether a running snapshot can still be believed; one that has ended stays true. */
export function liveness(
  { state, heartbeat_age_s }: Snapshot,
  lost: "kernel" | "server" | null,
  silentMs: number,
): Liveness {
  if (lost !== null) return lost === "kernel" ? "gone" : "cut";
  if (state !== "running") return "over";
  const heartbeat = heartbeat_age_s === null ? 0 : heartbeat_age_s + silentMs / 1000;
  return silentMs > SILENT_AFTER_MS || heartbeat > MISSED_AFTER_S ? "silent" : "live";
}

export type Mark = End | "running" | "paused" | "gone" | "silent" | "other";

/** Which look the state chip has, and its word. */
export function mark({ state, paused, running }: Snapshot, life: Liveness): { readonly look: Mark; readonly word: string } {
  if (isEnd(state)) return { look: state, word: state };
  if (state !== "running") return { look: "other", word: line(state, 40) };
  if (life === "gone") return { look: "gone", word: "kernel gone" };
  if (life === "cut") return { look: "gone", word: "no connection" };
  if (life === "silent") return { look: "silent", word: "no news" };
  if (!paused) return { look: "running", word: "running" };
  return { look: "paused", word: running > 0 ? "pausing" : "paused" };
}

/** One figure below the bar: a value over its name. */
export interface Figure {
  readonly name: string;
  readonly value: string;
}

/** The times of the run. Always the same ones while it lives, so that nothing moves. */
export function times(snapshot: Snapshot, life: Liveness, silentMs: number): readonly Figure[] {
  const saved = snapshot.saved_s >= 1 ? duration(snapshot.saved_s) : NONE;
  const paid = snapshot.spent > 0 || snapshot.saved_cost > 0;
  const costs = [
    { name: "spent", value: amount(snapshot.spent) },
    { name: "cost saved", value: amount(snapshot.saved_cost) },
  ].filter(() => paid);
  if (snapshot.state !== "running") {
    return [
      { name: "rate", value: speed(snapshot.rate) || NONE },
      { name: "elapsed", value: duration(snapshot.elapsed_s) },
      { name: "time saved", value: saved },
      ...costs,
    ];
  }
  // Between two messages the time goes on here: the kernel only speaks when something changed.
  const since = silentMs / 1000;
  const moving = life === "live" && !snapshot.paused;
  const left = moving && snapshot.eta_s !== null ? duration(Math.max(0, snapshot.eta_s - since)) : NONE;
  const age = (seconds: number | null) => (seconds === null ? NONE : ago(seconds + since));
  return [
    { name: "rate", value: (moving && speed(snapshot.rate)) || NONE },
    { name: "time left", value: left },
    { name: "elapsed", value: duration(snapshot.elapsed_s + (life === "live" || life === "silent" ? since : 0)) },
    { name: "time saved", value: saved },
    ...costs,
    { name: "last commit", value: age(snapshot.commit_age_s) },
    { name: "heartbeat", value: age(snapshot.heartbeat_age_s) },
  ];
}

/** The sentence below the figures: what is wrong, else what is waited for, else how it ended. */
export function remark(snapshot: Snapshot, life: Liveness, silentMs: number): string {
  const kept = `${count(snapshot.durable)} durable`;
  if (life === "silent") {
    const seconds = Math.max(silentMs / 1000, (snapshot.heartbeat_age_s ?? 0) + silentMs / 1000);
    return `Last news ${duration(seconds)} ago: the kernel is held up in one long call, or gone. ${kept} so far.`;
  }
  if (life === "cut") return `The server does not answer; ${kept} when it last did.`;
  if (life === "gone" && snapshot.state === "running") {
    return `The kernel is gone; ${kept}. Run the cell again to go on from there.`;
  }
  if (life === "gone" && snapshot.failed > 0) return "The kernel is gone. Run the cell again to try what failed.";
  if (life === "live" && snapshot.waiting_for) return `Waiting for ${snapshot.waiting_for}`;
  return snapshot.message;
}
