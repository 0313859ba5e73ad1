/** The contract with `durable_nb.records.Snapshot` (tests/fixtures/snapshot.json): its fields, and what checks them. */

const ENDS = ["interrupted", "failed", "done", "cancelled"] as const;
export type End = (typeof ENDS)[number];

export interface Failure {
  readonly position: number;
  readonly label: string;
  readonly error: string;
  readonly attempts: number;
  readonly traceback: string;
}

export interface Snapshot {
  readonly name: string;
  /** `running`, an `End`, or the word of a newer durable_nb, which is shown as it is. */
  readonly state: string;
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
  readonly run_id: number | null;
  /** Digest of the address of the database. */
  readonly store: string;
  readonly notebook: string;
  readonly cell: string;
  readonly attempts: number;
  /** When the run was begun first, in seconds since the epoch; 0 from a kernel, whose run stays the same one. */
  readonly created: number;
  readonly paused: boolean;
  /** Calls at a time now. */
  readonly workers: number;
  readonly limit_workers: number | null;
  readonly per_minute: number | null;
  readonly heartbeat_age_s: number | null;
  readonly waiting_for: string;
  readonly groups: readonly Group[];
  readonly mosaic_version: number;
  /** What this attempt has paid, and what restoring saved; 0 where no step says what it costs. */
  readonly spent: number;
  readonly saved_cost: number;
}

/** Failures with the same first line of the error. */
export interface Group {
  readonly error: string;
  readonly count: number;
}

/** Something that happened to the run, `at` in seconds since the epoch. */
export interface RunEvent {
  readonly at: number;
  readonly kind: string;
  readonly detail: string;
}

/** One fingerprint of a step, and how many results of it are kept. */
export interface Version {
  readonly id: number;
  readonly name: string;
  readonly fingerprint: string;
  readonly saved: number;
  readonly current: boolean;
}

/** What stands beside the snapshot because it changes seldom; oldest events first. */
export interface Context {
  readonly history: readonly RunEvent[];
  readonly versions: readonly Version[];
}

/** One document of the mosaic; `error` is one line, then the traceback. */
export interface RunDocument {
  readonly position: number;
  readonly label: string;
  readonly state: string;
  readonly seconds: number | null;
  readonly attempts: number;
  readonly error: string;
}

type Kind = "text" | "number" | "number or null" | "flag";

type Newer = keyof typeof NEWER;
const FIELDS: Readonly<Record<Exclude<keyof Snapshot, "failures" | "groups" | Newer>, Kind>> = {
  name: "text",
  state: "text",
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
/** Fields that a kernel with an older durable_nb does not send, and what is assumed then. */
const NEWER = {
  run_id: null,
  store: "",
  notebook: "",
  cell: "",
  attempts: 1,
  created: 0,
  paused: false,
  workers: 0,
  limit_workers: null,
  per_minute: null,
  heartbeat_age_s: null,
  waiting_for: "",
  mosaic_version: 0,
  spent: 0,
  saved_cost: 0,
} as const;
const NEWER_FIELDS: Readonly<Record<Newer, Kind>> = {
  run_id: "number or null",
  store: "text",
  notebook: "text",
  cell: "text",
  attempts: "number",
  created: "number",
  paused: "flag",
  workers: "number",
  limit_workers: "number or null",
  per_minute: "number or null",
  heartbeat_age_s: "number or null",
  waiting_for: "text",
  mosaic_version: "number",
  spent: "number",
  saved_cost: "number",
};
const FAILURE_FIELDS: Readonly<Record<keyof Failure, Kind>> = {
  position: "number",
  label: "text",
  error: "text",
  attempts: "number",
  traceback: "text",
};
const VERSION_FIELDS: Readonly<Record<keyof Version, Kind>> = {
  id: "number",
  name: "text",
  fingerprint: "text",
  saved: "number",
  current: "flag",
};
const DOCUMENT_FIELDS: Readonly<Record<keyof RunDocument, Kind>> = {
  position: "number",
  label: "text",
  state: "text",
  seconds: "number or null",
  attempts: "number",
  error: "text",
};

/** The snapshot in a message, or a TypeError naming the field that breaks the contract. */
export function parse(raw: unknown): Snapshot {
  const fields: Record<string, unknown> = { ...NEWER, groups: [], ...record(raw, "snapshot") };
  check(fields, FIELDS, "snapshot");
  check(fields, NEWER_FIELDS, "snapshot");
  checkEach(fields.failures, FAILURE_FIELDS, "failures");
  checkEach(fields.groups, { error: "text", count: "number" }, "groups");
  return fields as unknown as Snapshot;
}

/** Whether a state is one of those after which nothing more happens by itself. */
export function isEnd(state: string): state is End {
  return (ENDS as readonly string[]).includes(state);
}

/** History and versions in a message; empty from a kernel that does not send them. */
export function parseContext(raw: unknown): Context {
  const fields: Record<string, unknown> = { history: [], versions: [], ...record(raw ?? {}, "context") };
  checkEach(fields.history, { at: "number", kind: "text", detail: "text" }, "history");
  checkEach(fields.versions, VERSION_FIELDS, "versions");
  return fields as unknown as Context;
}

/** The answer about one document; null when there is none. */
export function parseDocument(raw: unknown): RunDocument | null {
  if (raw === null) return null;
  const fields: Record<string, unknown> = { seconds: null, attempts: 0, error: "", ...record(raw, "document") };
  fields.error ??= "";
  check(fields, DOCUMENT_FIELDS, "document");
  return fields as unknown as RunDocument;
}

function record(raw: unknown, where: string): Record<string, unknown> {
  if (typeof raw !== "object" || raw === null) throw new TypeError(`${where} is not an object`);
  return raw as Record<string, unknown>;
}

const TYPES: Readonly<Record<Kind, string>> = {
  text: "string",
  number: "number",
  "number or null": "number",
  flag: "boolean",
};

function check(fields: Record<string, unknown>, kinds: Readonly<Record<string, Kind>>, where: string): void {
  for (const [name, kind] of Object.entries(kinds)) {
    const value = fields[name];
    if (typeof value !== TYPES[kind] && !(kind === "number or null" && value === null)) {
      throw new TypeError(`${where}.${name} is not a ${kind}`);
    }
  }
}

function checkEach(list: unknown, kinds: Readonly<Record<string, Kind>>, where: string): void {
  if (!Array.isArray(list)) throw new TypeError(`${where} is not a list`);
  list.forEach((item, index) => check(record(item, `${where}[${index}]`), kinds, `${where}[${index}]`));
}
