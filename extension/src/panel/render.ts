/** The panel: DOM only. It is made once and then patched, so that an open list and the focus survive every update. */

import { count, duration, speed } from "./format";
import type { Failure, Liveness, Snapshot, State } from "./snapshot";
import { headline, liveness, percentage, SHARES, shares, spoken } from "./snapshot";
import type { Action, Source } from "./source";

const TICK_MS = 1000;
const PATIENCE_MS = 1500;
const TAKEN: Readonly<Record<Action, string>> = {
  stop: "Stopping: calls that are running may end, and are kept.",
  retry: "Retry requested.",
};
const WAITING: Readonly<Record<Action, string>> = {
  stop: "Stop requested; applies when the kernel is free, or use the ■ button.",
  retry: "Retry requested; applies when the kernel is free.",
};

/** Draw the run of `source` into `el` and keep it true until `signal` aborts. */
export function render(el: HTMLElement, source: Source, signal: AbortSignal): void {
  const parts = build();
  el.append(parts.root);
  // A view of a saved or long silent run must not look fresh only because it was drawn just now.
  let heardAt = Math.min(Date.now(), source.sentAt());
  let pending: { action: Action; text: string; state: State } | null = null;
  let patience: ReturnType<typeof setTimeout> | undefined;
  let announced: State | null = null;

  const draw = () => {
    const snapshot = source.snapshot();
    const silentMs = Date.now() - heardAt;
    const life = liveness(snapshot.state, source.connected(), silentMs);
    if (pending && pending.state !== snapshot.state) pending = null;
    drawHead(parts, snapshot, life);
    drawBar(parts, snapshot, life);
    drawCounts(parts, snapshot, life, silentMs);
    drawButtons(parts, snapshot, life, source.actions(), pending?.action ?? null);
    const note = noteFor(snapshot, life, silentMs) || pending?.text || snapshot.message;
    setText(parts.note, note);
    parts.note.hidden = !note;
    drawFailures(parts, snapshot);
    if (announced !== snapshot.state) {
      if (announced !== null) setText(parts.status, `${snapshot.name}: ${snapshot.state}, ${spoken(snapshot)}`);
      announced = snapshot.state;
    }
  };
  const ask = (action: Action) => {
    pending = { action, text: action === "stop" ? "Stop requested." : "Retry requested.", state: source.snapshot().state };
    source.request(action);
    clearTimeout(patience);
    patience = setTimeout(() => {
      if (pending?.action === action) pending.text = WAITING[action];
      draw();
    }, PATIENCE_MS);
    draw();
  };

  parts.stop.addEventListener("click", () => ask("stop"), { signal });
  parts.retry.addEventListener("click", () => ask("retry"), { signal });
  const onNews = () => {
    heardAt = Date.now();
    draw();
  };
  const onTaken = (action: Action) => {
    clearTimeout(patience);
    if (pending?.action === action) pending.text = TAKEN[action];
    setText(parts.status, TAKEN[action]);
    draw();
  };
  source.listen({ onNews, onTaken, onConnection: draw }, signal);
  const ticking = setInterval(draw, TICK_MS);
  signal.addEventListener("abort", () => {
    clearInterval(ticking);
    clearTimeout(patience);
  });
  draw();
}

type Parts = ReturnType<typeof build>;

function build() {
  const chip = make("span", "dnb-chip");
  const name = make("strong", "dnb-name");
  const progress = make("span", "dnb-progress");
  const stop = button("Stop");
  const retry = button("Retry failed");
  const bar = make("div", "dnb-bar");
  bar.setAttribute("role", "progressbar");
  const segments = SHARES.map((kind) => make("span", `dnb-segment dnb-${kind}`));
  bar.append(...segments);
  const counts = SHARES.map((kind) => {
    const number = make("b", "");
    const item = make("span", `dnb-count dnb-${kind}`);
    item.append(make("i", "dnb-dot"), number, kind);
    return { item, number };
  });
  const times = make("span", "dnb-times");
  const note = make("div", "dnb-note");
  const status = make("div", "dnb-hidden");
  status.setAttribute("role", "status");
  const { details, summary, rows, more } = buildFailures();

  const head = make("div", "dnb-head");
  const buttons = make("span", "dnb-buttons");
  buttons.append(stop, retry);
  head.append(chip, name, progress, buttons);
  const facts = make("div", "dnb-facts");
  const group = make("span", "dnb-counts");
  group.append(...counts.map(({ item }) => item));
  facts.append(group, times);
  const root = make("section", "dnb");
  root.append(head, bar, facts, note, details, status);
  const headParts = { chip, name, progress, stop, retry };
  return { root, ...headParts, bar, segments, counts, times, note, status, details, summary, rows, more };
}

function buildFailures() {
  const details = make("details", "dnb-failures");
  const summary = make("summary", "");
  const table = make("table", "");
  const caption = make("caption", "dnb-hidden");
  caption.textContent = "Documents that failed";
  const heading = make("tr", "");
  for (const title of ["document", "error", "attempts"]) {
    const cell = make("th", "");
    cell.scope = "col";
    cell.textContent = title;
    heading.append(cell);
  }
  const head = make("thead", "");
  head.append(heading);
  const rows = make("tbody", "");
  table.append(caption, head, rows);
  const more = make("div", "dnb-more");
  details.append(summary, table, more);
  return { details, summary, rows, more };
}

function drawHead(parts: Parts, snapshot: Snapshot, life: Liveness): void {
  const mark = snapshot.state === "running" && life !== "live" ? "silent" : snapshot.state;
  parts.chip.dataset.state = mark;
  setText(parts.chip, mark !== "silent" ? mark : life === "gone" ? "kernel gone" : "no news");
  setText(parts.name, snapshot.name);
  setText(parts.progress, headline(snapshot));
  parts.root.setAttribute("aria-label", `Durable run ${snapshot.name}`);
}

function drawBar(parts: Parts, snapshot: Snapshot, life: Liveness): void {
  const percent = percentage(snapshot);
  const widths = shares(snapshot);
  SHARES.forEach((kind, index) => {
    parts.segments[index]!.style.width = `${widths[kind]}%`;
  });
  parts.bar.dataset.life = life;
  parts.bar.setAttribute("aria-label", `${snapshot.name}: durable documents`);
  parts.bar.setAttribute("aria-valuetext", spoken(snapshot));
  if (percent === null) return parts.bar.removeAttribute("aria-valuenow"); // indeterminate, as ARIA spells it
  parts.bar.setAttribute("aria-valuenow", String(percent));
}

function drawCounts(parts: Parts, snapshot: Snapshot, life: Liveness, silentMs: number): void {
  SHARES.forEach((kind, index) => {
    const { item, number } = parts.counts[index]!;
    setText(number, count(snapshot[kind]));
    item.hidden = kind === "running" && life !== "live";
    item.classList.toggle("dnb-none", snapshot[kind] === 0);
  });
  const facts: string[] = [];
  if (life === "live") {
    // Between two messages the time goes on here; the kernel only speaks when something changed.
    const since = silentMs / 1000;
    facts.push(speed(snapshot.rate));
    if (snapshot.eta_s !== null) facts.push(`${duration(Math.max(0, snapshot.eta_s - since))} left`);
    facts.push(`${duration(snapshot.elapsed_s + since)} elapsed`);
  } else {
    facts.push(`${duration(snapshot.elapsed_s)} elapsed`);
  }
  if (snapshot.saved_s >= 1) facts.push(`saved ${duration(snapshot.saved_s)} by restoring`);
  setText(parts.times, facts.filter(Boolean).join(" · "));
}

function drawButtons(
  parts: Parts,
  snapshot: Snapshot,
  life: Liveness,
  actions: readonly Action[],
  pending: Action | null,
): void {
  const running = snapshot.state === "running";
  parts.stop.hidden = !running || !actions.includes("stop");
  parts.stop.disabled = life === "gone" || pending === "stop";
  parts.retry.hidden = running || snapshot.failed === 0 || !actions.includes("retry");
  parts.retry.disabled = life === "gone" || pending === "retry";
}

function noteFor(snapshot: Snapshot, life: Liveness, silentMs: number): string {
  const kept = `${count(snapshot.durable)} durable`;
  if (life === "silent") {
    return `Last news ${duration(silentMs / 1000)} ago: the kernel is held up in one long call, or gone. ${kept} so far.`;
  }
  if (life !== "gone") return "";
  if (snapshot.state === "running") return `The kernel is gone; ${kept}. Run the cell again to go on from there.`;
  return snapshot.failed > 0 ? "The kernel is gone. Run the cell again to try what failed." : "";
}

function drawFailures(parts: Parts, { failures, failed }: Snapshot): void {
  parts.details.hidden = failures.length === 0;
  setText(parts.summary, `${count(failed)} failed ${failed === 1 ? "document" : "documents"}`);
  const rest = failed - failures.length;
  setText(parts.more, rest > 0 ? `and ${count(rest)} more` : "");
  // Rows are known by what they say and used again, so that an open traceback stays open when another call fails.
  const known = new Map([...parts.rows.children].map((row) => [(row as HTMLElement).dataset.says, row]));
  const wanted = failures.map((failure) => {
    const says = JSON.stringify(failure);
    return known.get(says) ?? failureRow(failure, says);
  });
  const same = wanted.length === known.size && wanted.every((row, index) => row === parts.rows.children[index]);
  if (!same) parts.rows.replaceChildren(...wanted);
}

function failureRow(failure: Failure, says: string): HTMLTableRowElement {
  const row = make("tr", "");
  row.dataset.says = says;
  const label = make("th", "");
  label.scope = "row";
  label.textContent = failure.label;
  const error = make("td", "");
  const attempts = make("td", "");
  attempts.textContent = count(failure.attempts);
  if (failure.traceback) {
    const details = make("details", "");
    const summary = make("summary", "dnb-error");
    summary.textContent = failure.error;
    const traceback = make("pre", "");
    traceback.textContent = failure.traceback;
    details.append(summary, traceback);
    error.append(details);
  } else {
    error.className = "dnb-error";
    error.textContent = failure.error;
  }
  row.append(label, error, attempts);
  return row;
}

function button(label: string): HTMLButtonElement {
  const made = make("button", "dnb-button");
  made.type = "button";
  made.textContent = label;
  return made;
}

function make<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, className: string): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  return element;
}

/** Text nodes are only touched when they change: screen readers and selections notice every write. */
function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
