/** The panel. It is made once and then patched, so that what is open, typed or focused survives every update. */

import { make, setText } from "./dom";
import { liveness, mark, remark, spoken } from "./figures";
import type { Asked } from "./requests";
import { answer, asked, isOver, PATIENCE_MS } from "./requests";
import type { Action, Source } from "./source";
import { isolated, line, plain } from "./text";
import { failuresView } from "./views/failures";
import { barView, figuresView } from "./views/figures";
import { headView } from "./views/head";
import { timelineView, versionsView } from "./views/history";
import { limitsView } from "./views/limits";
import { mosaicView } from "./views/mosaic";
import { stripView } from "./views/strip";

const TICK_MS = 1000;

/** Draw the run of `source` into `el` and keep it true until `signal` aborts. */
export function render(el: HTMLElement, source: Source, signal: AbortSignal): void {
  // A view of a saved or long silent run must not look fresh only because it was drawn just now.
  let heardAt = Math.min(Date.now(), source.sentAt());
  let clicks: readonly Asked[] = [];
  let announced: string | null = null;
  const timers = new Set<ReturnType<typeof setTimeout>>();

  const ask = (action: Action, value = "") => {
    const click = asked(action, value, source.snapshot(), Date.now());
    clicks = [...clicks.filter((other) => other.action !== action), click];
    const change = (stage: "refused", words: string) => {
      if (!clicks.includes(click) || signal.aborted) return;
      clicks = clicks.map((other) => (other === click ? { ...click, stage, words } : other));
      setText(status, words);
      draw();
    };
    Promise.resolve()
      .then(() => source.request(action, value))
      .catch((error: unknown) => change("refused", plain(error instanceof Error ? error.message : String(error))));
    const patience = setTimeout(() => {
      timers.delete(patience);
      draw();
    }, PATIENCE_MS);
    timers.add(patience);
    draw();
  };

  const head = headView(ask, signal);
  const bar = barView();
  const figures = figuresView();
  const note = make("div", "dnb-note");
  const mosaic = mosaicView(source, note, signal);
  const told = make("div", "dnb-told", ...mosaic.told);
  const strip = stripView(signal);
  const failures = failuresView(strip.add("dnb-failures"));
  const timeline = timelineView(strip.add("dnb-history"), ask, signal);
  const versions = versionsView(strip.add("dnb-code"), ask, signal);
  const limits = limitsView(strip.add("dnb-limit"), ask, signal);
  const status = make("div", "dnb-hidden");
  status.setAttribute("role", "status");
  const root = make("section", "dnb", head.root, bar.root, figures.root, mosaic.field, told, ...strip.roots, status);
  root.tabIndex = -1;
  el.append(root);

  const draw = () => {
    const snapshot = source.snapshot();
    const { history, versions: code } = source.context();
    const actions = source.actions();
    const now = Date.now();
    const silentMs = now - heardAt;
    const life = liveness(snapshot, source.connected() ? null : (source.through ?? "kernel"), silentMs);
    clicks = clicks.filter((click) => !isOver(click, snapshot, now));
    const latest = clicks.at(-1);

    root.setAttribute("aria-label", `Durable run ${isolated(line(snapshot.name))}`);
    root.dataset.state = snapshot.state;
    head.draw(snapshot, life, actions, clicks);
    bar.draw(snapshot, life);
    figures.draw(snapshot, life, silentMs);
    mosaic.draw(snapshot);
    setText(note, latest ? answer(latest, now) : line(remark(snapshot, life, silentMs), 1000));
    note.dataset.tone = latest?.stage === "refused" ? "bad" : "";
    // The line is kept free while something may come to stand in it: nothing below is pushed down by a click.
    told.hidden = !note.textContent && mosaic.field.hidden && (snapshot.state !== "running" || actions.length === 0);
    failures({ failures: snapshot.failures, groups: snapshot.groups, failed: snapshot.failed });
    timeline({ attempts: snapshot.attempts, history, actions });
    versions({ versions: code, actions });
    limits(snapshot, actions, life);

    const { word } = mark(snapshot, life);
    if (announced !== null && announced !== word) setText(status, `${line(snapshot.name)}: ${word}, ${spoken(snapshot)}`);
    announced = word;
  };

  const onNews = () => {
    heardAt = Date.now();
    draw();
  };
  const onTaken = (action: Action) => {
    clicks = clicks.map((click) => (click.action === action ? { ...click, stage: "taken" } : click));
    draw();
  };
  source.listen({ onNews, onTaken, onConnection: draw }, signal);
  const ticking = setInterval(draw, TICK_MS);
  signal.addEventListener("abort", () => {
    clearInterval(ticking);
    timers.forEach(clearTimeout);
    root.remove();
  });
  draw();
}
