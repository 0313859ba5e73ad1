/** The mosaic: a square for each document, or for some of them, and the line that names what is pointed at. */

import { foreign, make, setAttribute, setText } from "../dom";
import { feed } from "../feed";
import { count, counted, duration } from "../format";
import { countsOf, documentsOf, FAILED, KINDS, Mosaic, namesake, targetOf } from "../mosaic";
import type { RunDocument, Snapshot } from "../snapshot";
import type { Source } from "../source";
import { isolated, line } from "../text";
import { Squares } from "./canvas";
import { watch } from "./watch";

const DEBOUNCE_MS = 120;
const REMEMBERED = 200;

/** `note` is what else may have to be said in the line below the mosaic. */
export function mosaicView(source: Source, note: HTMLElement, signal: AbortSignal) {
  const mosaic = new Mosaic();
  const squares = new Squares();
  const { canvas } = squares;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Mosaic of the documents");
  const cursor = make("span", "dnb-cursor");
  const field = make("div", "dnb-mosaic", canvas, cursor, ...squares.tones);
  const rule = make("div", "dnb-rule");
  const caption = captionView();
  field.hidden = rule.hidden = caption.root.hidden = cursor.hidden = true;

  let snapshot: Snapshot | null = null;
  let width = 0;
  let pointed: { readonly square: number; readonly byKey: boolean } | null = null;

  const update = (positions: Uint32Array | null) => {
    if (!snapshot || width === 0) return;
    const grew = mosaic.expect(snapshot.total ?? 0);
    const moved = squares.fit(mosaic, snapshot.total, width); // also before anything has come, to keep its place
    if (moved || (pointed && pointed.square * squares.grid.share >= mosaic.states.length)) pointed = null;
    if (!news.arrived) return;
    squares.show(mosaic, grew ? null : positions);
    describe();
  };
  const names = namesOf(source, mosaic, () => describe(), signal);
  const news = feed(source, mosaic, update, signal);

  /** The line, the cursor, and what a screen reader hears. */
  const describe = () => {
    const { share, cell } = squares.grid;
    const shared = `${count(share)} documents in each square; the worst shows, pale is partly done.`;
    setText(rule, share === 1 ? "One square for each document." : shared);
    rule.hidden = false;
    const counts = mosaic.counts.map((many, state) => `${count(many)} ${KINDS[state]}`);
    const all = `Mosaic of ${counted(mosaic.states.length, "document")}: ${counts.join(", ")}`;
    caption.root.hidden = cursor.hidden = pointed === null;
    if (pointed === null) return setAttribute(canvas, "aria-label", all);

    const [x, y] = squares.middle(pointed.square);
    cursor.style.transform = `translate(${x}px, ${y}px)`;
    cursor.style.setProperty("--dnb-size", `${Math.max(cell + 3, 8)}px`);
    const [start, end] = documentsOf(pointed.square, squares.grid, mosaic.states.length);
    const position = namesake(mosaic.states, start, end);
    const place = placeOf(mosaic.states, start, end);
    const document = names.of(position, snapshot);
    const said = document ? `${isolated(line(document.label))} ${outcome(document)}. ` : "";
    caption.draw(place, document);
    setAttribute(canvas, "aria-label", pointed.byKey ? `${place}. ${said}${all}` : all);
  };

  const point = (square: number | null, byKey: boolean) => {
    if (!news.arrived || (square === (pointed?.square ?? null) && byKey === pointed?.byKey)) return;
    pointed = square === null ? null : { square, byKey };
    describe();
  };
  const follow = ({ clientX, clientY }: PointerEvent) => point(squares.at(clientX, clientY), false);
  canvas.addEventListener("pointermove", follow, { signal });
  canvas.addEventListener("pointerdown", follow, { signal });
  canvas.addEventListener("pointerleave", () => point(null, false), { signal });
  canvas.addEventListener("blur", () => point(null, false), { signal });
  canvas.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !news.arrived) return;
      const target = targetOf(event.key, pointed?.square ?? null, squares.grid, mosaic.states);
      if (target === undefined) return;
      event.preventDefault();
      event.stopPropagation(); // the notebook would go to another cell
      point(target, true);
    },
    { signal },
  );
  const changed = (now: number | null) => {
    width = now ?? width;
    squares.recolour();
    update(null);
  };
  watch(field, changed, signal);

  const draw = (next: Snapshot) => {
    const grows = next.total !== snapshot?.total;
    snapshot = next;
    news.news(next);
    field.hidden = !news.hopeful;
    if (grows) update(null);
  };
  return { field, told: [caption.root, note, rule] as const, draw };
}

function captionView() {
  const [place, label, why] = [make("span", "dnb-place"), foreign("", "dnb-label"), foreign("", "dnb-why")];
  const root = make("div", "dnb-caption", place, label, why);
  const draw = (where: string, document: RunDocument | null) => {
    setText(place, where);
    setText(label, document ? line(document.label) : "");
    setText(why, document ? outcome(document) : "");
  };
  return { root, draw };
}

/** Labels by position: of failures that the snapshot names, else asked for once the pointer rests. */
function namesOf(source: Source, mosaic: Mosaic, found: () => void, signal: AbortSignal) {
  const remembered = new Map<string, RunDocument | null>();
  let resting: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(resting));

  const ask = async (position: number, key: string) => {
    const document = await source.document!(position).catch(() => null);
    if (signal.aborted) return;
    if (remembered.size >= REMEMBERED) remembered.clear();
    remembered.set(key, document);
    found();
  };
  const of = (position: number, snapshot: Snapshot | null): RunDocument | null => {
    clearTimeout(resting);
    const state = mosaic.states[position];
    const failure = state === FAILED && snapshot?.failures.find((candidate) => candidate.position === position);
    if (failure) return { ...failure, state: "failed", seconds: null };
    const key = `${snapshot?.run_id} ${snapshot?.attempts} ${position} ${state}`;
    const known = remembered.get(key);
    if (known === undefined && source.document) resting = setTimeout(() => void ask(position, key), DEBOUNCE_MS);
    return known ?? null;
  };
  return { of };
}

/** `index 17 · failed`, `index 36 to 71 · 1 failed, 35 computed`; positions as Python counts them. */
function placeOf(states: Uint8Array, start: number, end: number): string {
  if (end - start === 1) return `index ${count(start)} · ${KINDS[states[start]!]}`;
  const parts = countsOf(states, start, end).map((many, state) => (many ? `${count(many)} ${KINDS[state]}` : ""));
  return `index ${count(start)} to ${count(end - 1)} · ${parts.filter(Boolean).reverse().join(", ")}`;
}

function outcome({ state, seconds, attempts, error }: RunDocument): string {
  const time = seconds === null || state === "waiting" ? "" : duration(seconds);
  return [time, attempts > 1 ? counted(attempts, "attempt") : "", line(error.split("\n", 1)[0]!)].filter(Boolean).join(" · ");
}
