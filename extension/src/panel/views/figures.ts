/** The stacked bar, and the figures below it: counts that are its legend, then times. */

import { make, setAttribute, setText } from "../dom";
import type { Figure, Liveness } from "../figures";
import { percentage, SHARES, shares, spoken, times } from "../figures";
import { count, NONE } from "../format";
import type { Snapshot } from "../snapshot";
import { isolated, line } from "../text";

export function barView() {
  const segments = SHARES.map((kind) => make("span", `dnb-segment dnb-${kind}`));
  const root = make("div", "dnb-bar", ...segments);
  root.setAttribute("role", "progressbar");
  root.setAttribute("aria-valuemin", "0");
  root.setAttribute("aria-valuemax", "100");

  const draw = (snapshot: Snapshot, life: Liveness) => {
    const percent = percentage(snapshot);
    const widths = shares(snapshot);
    SHARES.forEach((kind, index) => {
      segments[index]!.style.width = `${widths[kind]}%`;
    });
    root.dataset.life = life;
    setAttribute(root, "aria-label", `${isolated(line(snapshot.name))}: durable documents`);
    setAttribute(root, "aria-valuetext", spoken(snapshot));
    setAttribute(root, "aria-valuenow", percent === null ? null : String(percent)); // without: indeterminate
  };
  return { root, draw };
}

export function figuresView() {
  const counts = SHARES.map((kind) => figure(kind, kind));
  const root = make("dl", "dnb-figures", ...counts.map(({ item }) => item));
  let shown: { readonly name: string; readonly item: HTMLElement; readonly value: HTMLElement }[] = [];

  const draw = (snapshot: Snapshot, life: Liveness, silentMs: number) => {
    SHARES.forEach((kind, index) => {
      const { item, value } = counts[index]!;
      const unknown = kind === "running" && life !== "live";
      setText(value, unknown ? NONE : count(snapshot[kind]));
      item.hidden = kind === "running" && snapshot.state !== "running";
      item.classList.toggle("dnb-none", snapshot[kind] === 0);
    });
    const wanted = times(snapshot, life, silentMs);
    if (!sameNames(shown, wanted)) {
      for (const { item } of shown) item.remove();
      shown = wanted.map(({ name }) => figure(name));
      root.append(...shown.map(({ item }) => item));
    }
    wanted.forEach(({ value }, index) => setText(shown[index]!.value, value));
    root.dataset.life = life;
  };
  return { root, draw };
}

function figure(name: string, kind?: string) {
  const value = make("dd", "");
  const term = make("dt", "", ...(kind ? [make("i", "dnb-dot"), name] : [name]));
  return { name, value, item: make("div", kind ? `dnb-figure dnb-${kind}` : "dnb-figure", term, value) };
}

function sameNames(shown: readonly { readonly name: string }[], wanted: readonly Figure[]): boolean {
  return shown.length === wanted.length && wanted.every(({ name }, index) => name === shown[index]!.name);
}
