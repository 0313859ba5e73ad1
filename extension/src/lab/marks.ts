/** Durable cells by their text, and which run is whose; pure. */

import { count } from "../panel/format";
import type { Snapshot } from "../panel/snapshot";
import { percentage } from "../panel/figures";
import { line } from "../panel/text";

/** What a durable cell puts out. */
export const MIME = "application/vnd.durable-nb.run.v1+json";

/** Sub-commands of `%durable` (`durable_nb.config.RESERVED`): with these it is a line magic, not a mark. */
const RESERVED = /^(show|resume|retry|forget|explain|wait|stop|attach|diff|history|config|gc)$/;
/** Options of the mark that take a value; `--yes` is the only other one. */
const VALUED = /^--(on-change|steps|replay|db)$/;

/** The name in the first line of a durable cell, "" if it bears none; null for any other cell. */
export function markOf(source: string): string | null {
  const [first = "", ...body] = source.split("\n");
  const head = /^(%%?)durable(?:[ \t]+(.*))?$/.exec(first.trimEnd());
  if (!head) return null;
  const words = (head[2] ?? "").split(/\s+/).filter(Boolean);
  if (head[1] === "%" && (!body.some((line) => line.trim()) || RESERVED.test(words[0] ?? ""))) return null;
  const name = words.find((word, index) => !word.startsWith("--") && !VALUED.test(words[index - 1] ?? ""));
  return (name ?? "").replace(/^(["'])(.*)\1$/, "$2");
}

/** What a run is found by. */
export interface Named {
  readonly name: string;
  readonly cell: string;
  readonly notebook: string;
  readonly updated: number;
}

/**
 * The run of a cell, or null. The name decides and the cell's id only helps: ids change when cells are copied, and a
 * cell without a name bears the one that the kernel derived.
 */
export function runOf<Run extends Named>(cell: { id: string; name: string }, path: string, runs: readonly Run[]): Run | null {
  const file = (name: string) => name.slice(name.lastIndexOf("/") + 1);
  const fit = (run: Run) => 2 * Number(run.cell === cell.id) + Number(file(run.notebook) === file(path));
  const found = runs.filter((run) => (cell.name ? run.name === cell.name : run.cell === cell.id));
  return found.sort((a, b) => fit(b) - fit(a) || b.updated - a.updated)[0] ?? null;
}

/** What running the cell again would be, or null where it would change nothing. */
export function remedy(run: Snapshot): "Resume" | "Retry" | null {
  if (run.state === "running") return null;
  if (run.state === "interrupted" || run.state === "cancelled") return "Resume";
  return run.state === "failed" || run.failed > 0 ? "Retry" : null;
}

/** `1,882 / 3,000`, or only the first where the second is not known. */
export function figures(run: Snapshot): string {
  return run.total === null ? count(run.durable) : `${count(run.durable)} / ${count(run.total)}`;
}

/** What the badge of a cell says; `elsewhere` when it has run in a database that the server does not show. */
export function badgeText(run: Snapshot | null, elsewhere = false): string {
  if (!run) return elsewhere ? "durable · in a database that this server may not open" : "durable · not run yet";
  const failed = run.failed > 0 ? ` · ${count(run.failed)} failed` : "";
  if (run.state === "running") {
    const percent = percentage(run);
    return `${figures(run)}${percent === null ? "" : ` · ${percent} %`}${failed}${run.paused ? " · paused" : ""}`;
  }
  if (remedy(run)) return `${figures(run)}${failed} ✓ resumable`;
  return run.state === "done" ? `✓ ${figures(run)}` : `${figures(run)} · ${line(run.state, 40)}`;
}
