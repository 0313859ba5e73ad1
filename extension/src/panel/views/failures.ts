/** What failed, below its error; a traceback opens where its document stands. */

import { foreign, make, setText, table, th, whenNews } from "../dom";
import { count, counted } from "../format";
import type { Section as Alike } from "../grouping";
import { grouped } from "../grouping";
import type { Failure, Snapshot } from "../snapshot";
import { cut, line, plain } from "../text";
import type { Section } from "./strip";

const TRACEBACK_LIMIT = 20_000;

export function failuresView({ body, title }: Section) {
  const grid = table("dnb-table", "Documents that failed, by error", ["document", "attempts"]);
  const rest = make("p", "dnb-rest");
  body.append(grid, rest);
  // Rows are known by what they say and used again, so that an open traceback stays open when another call fails.
  let rows = new Map<string, HTMLTableRowElement>();

  return whenNews((snapshot: Pick<Snapshot, "failures" | "groups" | "failed">) => {
    const { sections, rest: others } = grouped(snapshot);
    const shown = sections.some(({ failures }) => failures.length > 0) || snapshot.groups.length > 0;
    const failed = Math.max(snapshot.failed, snapshot.failures.length);
    const kinds = sections.length > 1 ? `, ${others ? "at least " : ""}${count(sections.length)} kinds of error` : "";
    title(shown ? `${count(failed)} failed${kinds}` : null);
    const used = new Map<string, HTMLTableRowElement>();
    const reuse = (says: string, build: () => HTMLTableRowElement) => {
      const row = rows.get(says) ?? build();
      used.set(says, row);
      return row;
    };
    const focused = body.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
    const bodies = sections.map((alike) => {
      const head = reuse(`${alike.count} ${alike.error}`, () => errorRow(alike));
      const documents = alike.failures.map((failure) => reuse(JSON.stringify(failure), () => documentRow(failure)));
      const more = alike.count - alike.failures.length;
      return make("tbody", "", head, ...documents, ...(more > 0 ? [moreRow(more, alike.failures.length > 0)] : []));
    });
    while (grid.tBodies.length > 0) grid.tBodies[0]!.remove();
    grid.append(...bodies);
    focused?.focus({ preventScroll: true }); // moving a row takes the focus from it
    rows = used;
    setText(rest, others > 0 ? `and ${counted(others, "document")} with other errors` : "");
    rest.hidden = others === 0;
  });
}

function errorRow({ error, count: many }: Alike): HTMLTableRowElement {
  const times = make("span", "dnb-times", `${count(many)} ×`);
  const head = th("rowgroup", "dnb-error", times, " ", foreign(line(error, 300)));
  head.colSpan = 2;
  head.title = line(error, 1000);
  return make("tr", "dnb-group", head);
}

function documentRow({ label, traceback, attempts }: Failure): HTMLTableRowElement {
  const name = foreign(line(label) || "(no label)", "dnb-label");
  const head = th("row", "", name);
  if (traceback) {
    const text = make("pre", "dnb-traceback", cut(plain(traceback), TRACEBACK_LIMIT));
    text.dir = "auto";
    text.tabIndex = 0; // so that the keyboard can scroll it
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", "traceback");
    head.replaceChildren(make("details", "", make("summary", "", name), text));
  }
  return make("tr", "", head, make("td", "", count(attempts)));
}

function moreRow(more: number, some: boolean): HTMLTableRowElement {
  const cell = make("td", "dnb-rest", some ? `and ${count(more)} more` : `${counted(more, "document")}, not listed`);
  cell.colSpan = 2;
  return make("tr", "", cell);
}
