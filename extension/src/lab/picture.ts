/** What a saved notebook shows without us: the same static picture as `durable_nb/notebook/display.py` draws. */

import { count, duration } from "../panel/format";
import type { Snapshot, State } from "../panel/snapshot";
import { headline, percentage } from "../panel/figures";

const COLOURS: Readonly<Record<State, string>> = {
  running: "#3b82d6",
  done: "#2f9e5f",
  failed: "#d9534f",
  interrupted: "#c98512",
  cancelled: "#8a8a8a",
};
const FAILURES = 50;
const BOX =
  "border:1px solid rgba(128,128,128,.35);border-radius:6px;padding:8px 12px;max-width:960px;" +
  "font-family:system-ui,sans-serif;font-size:13px;line-height:1.6";

/** Inline styles only: Lab's sanitizer, nbconvert and GitHub drop everything else. */
export function pictureHtml(run: Snapshot): string {
  const percent = percentage(run);
  const bar = `<progress value="${percent}" max="100" style="width:100%;height:8px;accent-color:${COLOURS.done}"></progress>`;
  const counts: [number, string, string][] = [
    [run.restored, "restored", COLOURS.running],
    [run.computed, "computed", COLOURS.done],
    [run.failed, "failed", run.failed ? COLOURS.failed : COLOURS.cancelled],
  ];
  const dots = counts.map(([n, word, ink]) => `<span style="color:${ink}">&#9679;</span> ${count(n)} ${word}`);
  return (
    `<div style="${BOX}"><div><b style="color:${COLOURS[run.state]}">${run.state}</b> &nbsp;` +
    `<b>${escape(run.name)}</b> &nbsp;${progress(run)}</div>${percent === null ? "" : bar}` +
    `<div>${dots.join("&nbsp; ")} &nbsp;${times(run).join(" &middot; ")}</div>` +
    `${run.message ? `<div>${escape(run.message)}</div>` : ""}${failures(run)}</div>`
  );
}

/** One line, and one for each of the first failures. */
export function pictureText(run: Snapshot): string {
  const counts = [`${count(run.restored)} restored`, `${count(run.computed)} computed`, `${count(run.failed)} failed`];
  const head = `${oneLine(run.name)}: ${run.state}  ${progress(run)}  ${[...counts, ...times(run)].join(", ")}`;
  const lost = run.failures.slice(0, 5).map(({ label, error }) => `  failed: ${oneLine(label)}: ${oneLine(error)}`);
  return [head, ...lost, ...(run.message ? [`  ${oneLine(run.message)}`] : [])].join("\n");
}

function progress(run: Snapshot): string {
  const percent = percentage(run);
  return percent === null ? headline(run) : `${headline(run)} (${percent}%)`;
}

function failures({ failures, failed }: Snapshot): string {
  if (failures.length === 0) return "";
  const shown = failures.slice(0, FAILURES);
  const rows = shown.map(
    ({ label, error, attempts }) =>
      `<tr><td style="text-align:left">${escape(label)}</td><td style="text-align:left">${escape(error)}</td>` +
      `<td>${count(attempts)}</td></tr>`,
  );
  const more = failed > shown.length ? `<div>and ${count(failed - shown.length)} more</div>` : "";
  const head = "<thead><tr><th>document</th><th>error</th><th>attempts</th></tr></thead>";
  const title = `${count(failed)} failed ${failed === 1 ? "document" : "documents"}`;
  return `<details><summary>${title}</summary><table>${head}<tbody>${rows.join("")}</tbody></table>${more}</details>`;
}

function times({ elapsed_s, saved_s }: Snapshot): string[] {
  const saved = saved_s >= 1 ? [`saved ${duration(saved_s)} by restoring`] : [];
  return [`${duration(elapsed_s)} elapsed`, ...saved];
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
