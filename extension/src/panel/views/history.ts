/** What happened to the run, and which versions of its code have results. */

import { button, foreign, make, setText, table, th, whenNews } from "../dom";
import { count, counted, moment } from "../format";
import type { RunEvent, Version } from "../snapshot";
import { line } from "../text";
import type { Action } from "../source";
import type { Ask } from "./head";
import type { Section } from "./strip";

const SHOWN_EVENTS = 100;
/** Kinds of event that have a sign of their own in panel.css. */
const BAD = ["killed", "failed", "lease lost", "interrupted"];
const GOOD = ["done"];
const BEGUN = ["started", "restarted", "resumed", "taken over"];

export function timelineView({ body, title }: Section, ask: Ask, signal: AbortSignal) {
  const rows = make("tbody", "");
  const earlier = make("p", "dnb-rest");
  const forget = button("Forget…");
  forget.addEventListener("click", () => ask("forget"), { signal });
  // Not beside the buttons that are pressed every day.
  const dropping = make("p", "dnb-dropping", forget, "drops what is saved of this run");
  body.append(table("dnb-table dnb-timeline", "What happened to this run", ["time", "event", "detail"], rows), earlier, dropping);

  type News = { readonly attempts: number; readonly history: readonly RunEvent[]; readonly actions: readonly Action[] };
  return whenNews(({ attempts, history, actions }: News) => {
    dropping.hidden = !actions.includes("forget");
    title(history.length > 0 ? counted(Math.max(attempts, 1), "attempt") : null);
    const shown = history.slice(-SHOWN_EVENTS).reverse(); // the latest is what is looked for
    rows.replaceChildren(...shown.map(eventRow));
    const older = history.length - shown.length;
    setText(earlier, older > 0 ? `and ${counted(older, "earlier event")}` : "");
    earlier.hidden = older === 0;
  });
}

function eventRow({ at, kind, detail }: RunEvent): HTMLTableRowElement {
  const time = make("time", "", moment(at, Date.now() / 1000));
  const when = new Date(1000 * at);
  if (!Number.isNaN(when.getTime())) time.dateTime = when.toISOString();
  const event = th("row", "dnb-event", foreign(line(kind, 40)));
  event.dataset.tone = BAD.includes(kind) ? "bad" : GOOD.includes(kind) ? "good" : BEGUN.includes(kind) ? "begun" : "";
  return make("tr", "", make("td", "", time), event, make("td", "dnb-detail", foreign(line(detail, 300))));
}

export function versionsView({ body, title }: Section, ask: Ask, signal: AbortSignal) {
  const rows = make("tbody", "");
  body.append(table("dnb-table dnb-versions", "Versions of the code", ["step", "version", "results", "state"], rows));

  return whenNews(({ versions, actions }: { versions: readonly Version[]; actions: readonly Action[] }) => {
    const older = versions.filter(({ current, saved }) => !current && saved > 0);
    const outdated = older.reduce((sum, { saved }) => sum + saved, 0);
    const words = `${counted(versions.length, "version")} of the code`;
    title(versions.length === 0 ? null : outdated > 0 ? `${words}, ${count(outdated)} older` : words);
    rows.replaceChildren(...versions.map((version) => versionRow(version, actions.includes("recompute"))));
  });

  function versionRow({ id, name, fingerprint, saved, current }: Version, recomputable: boolean): HTMLTableRowElement {
    const last = make("td", "dnb-last");
    if (current) last.append("current");
    else if (recomputable && saved > 0) {
      const again = button("Recompute");
      again.setAttribute("aria-label", `Recompute ${counted(saved, "result")} of ${line(name)}, version ${fingerprint.slice(0, 8)}`);
      again.addEventListener("click", () => ask("recompute", String(id)), { signal });
      last.append(again);
    } else last.append("older");
    const print = make("code", "", line(fingerprint, 100).slice(0, 8));
    return make("tr", "", th("row", "", foreign(line(name))), make("td", "", print), make("td", "dnb-number", count(saved)), last);
  }
}
