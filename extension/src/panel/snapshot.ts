/** The contract with `durable_nb.records.Snapshot` (tests/fixtures/snapshot.json), and pure functions on it. */

import { count } from "./format";

export const STATES = ["running", "interrupted", "failed", "done", "cancelled"] as const;
export type State = (typeof STATES)[number];

export interface Failure {
  readonly position: number;
  readonly label: string;
  readonly error: string;
  readonly attempts: number;
  readonly traceback: string;
}

export interface Snapshot {
  readonly name: string;
  readonly state: State;
  readonly total: number | null;
  readonly restored: number;
  readonly computed: number;
  readonly failed: number;
  readonly running: number;
  readonly rate: number;
  readonly eta_s: number | null;
  readonly elapsed_s: number;
  readonly saved_s: number;
  readonly commit_age_s: number | null;
  readonly failures: readonly Failure[];
  readonly message: string;
  readonly durable: number;
}

type Kind = "text" | "number" | "number or null";

const FIELDS: Readonly<Record<Exclude<keyof Snapshot, "state" | "failures">, Kind>> = {
  name: "text",
  total: "number or null",
  restored: "number",
  computed: "number",
  failed: "number",
  running: "number",
  rate: "number",
  eta_s: "number or null",
  elapsed_s: "number",
  saved_s: "number",
  commit_age_s: "number or null",
  message: "text",
  durable: "number",
};
const FAILURE_FIELDS: Readonly<Record<keyof Failure, Kind>> = {
  position: "number",
  label: "text",
  error: "text",
  attempts: "number",
  traceback: "text",
};

/** The snapshot in a message, or a TypeError naming the field that breaks the contract. */
export function parse(raw: unknown): Snapshot {
  const fields = record(raw, "snapshot");
  check(fields, FIELDS, "snapshot");
  if (!STATES.includes(fields.state as State)) throw new TypeError(`snapshot.state is ${String(fields.state)}`);
  if (!Array.isArray(fields.failures)) throw new TypeError("snapshot.failures is not a list");
  fields.failures.forEach((failure, index) => {
    check(record(failure, `failures[${index}]`), FAILURE_FIELDS, `failures[${index}]`);
  });
  return fields as unknown as Snapshot;
}

/** Whole per cents that are durable, rounded down so that 100 means all; null while the total is not known. */
export function percentage({ total, durable }: Snapshot): number | null {
  if (total === null) return null;
  return total === 0 ? 100 : Math.min(100, Math.floor((100 * durable) / total));
}

/** `4,000 / 10,000 · 40 %` */
export function headline(snapshot: Snapshot): string {
  const percent = percentage(snapshot);
  if (percent === null || snapshot.total === null) return `${count(snapshot.durable)} durable`;
  return `${count(snapshot.durable)} / ${count(snapshot.total)} · ${percent} %`;
}

/** What a screen reader says about the bar, and once when the state changes. */
export function spoken(snapshot: Snapshot): string {
  const of = snapshot.total === null ? "" : ` of ${count(snapshot.total)}`;
  return `${count(snapshot.durable)}${of} durable, ${count(snapshot.failed)} failed`;
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

export const SILENT_AFTER_MS = 15_000;
export type Liveness = "live" | "silent" | "gone" | "over";

/** Whether a running snapshot can still be believed; one that has ended stays true. */
export function liveness(state: State, connected: boolean, silentMs: number): Liveness {
  if (state !== "running") return connected ? "over" : "gone";
  if (!connected) return "gone";
  return silentMs > SILENT_AFTER_MS ? "silent" : "live";
}

function record(raw: unknown, where: string): Record<string, unknown> {
  if (typeof raw !== "object" || raw === null) throw new TypeError(`${where} is not an object`);
  return raw as Record<string, unknown>;
}

function check(fields: Record<string, unknown>, kinds: Readonly<Record<string, Kind>>, where: string): void {
  for (const [name, kind] of Object.entries(kinds)) {
    const value = fields[name];
    const fits = kind === "text" ? typeof value === "string" : typeof value === "number";
    if (!fits && !(kind === "number or null" && value === null)) {
      throw new TypeError(`${where}.${name} is not a ${kind}`);
    }
  }
}
