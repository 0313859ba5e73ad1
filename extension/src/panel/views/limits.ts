/** How many calls at a time, and how many a minute: two numbers that may be left empty. */

import { button, make, setAttribute, setText } from "../dom";
import type { Liveness } from "../figures";
import { count } from "../format";
import { checkedLimit } from "../requests";
import type { Snapshot } from "../snapshot";
import type { Action } from "../source";
import type { Ask } from "./head";
import type { Section } from "./strip";

type Limit = "workers" | "rate";

export function limitsView({ body, title }: Section, ask: Ask, signal: AbortSignal) {
  const fields = { workers: field("at a time", body.id), rate: field("a minute", body.id) };
  const apply = button("Apply");
  apply.type = "submit";
  const wrong = make("span", "dnb-wrong");
  wrong.id = `${body.id}-wrong`;
  const form = make("form", "dnb-limits", make("span", "", "Calls"), fields.workers.label, fields.rate.label, apply, wrong);
  form.noValidate = true; // the browser's bubble cannot be styled, and leaves with the next redraw
  body.append(form);
  let now: Readonly<Record<Limit, string>> = { workers: "", rate: "" };

  const check = (): readonly (readonly [Limit, string])[] | null => {
    const changes: (readonly [Limit, string])[] = [];
    let words = "";
    for (const limit of ["workers", "rate"] as const) {
      const { input, label } = fields[limit];
      const checked = checkedLimit(limit, input.value);
      const bad = !label.hidden && "wrong" in checked;
      setAttribute(input, "aria-invalid", bad ? "true" : null);
      setAttribute(input, "aria-describedby", bad ? wrong.id : null);
      if (bad) words ||= checked.wrong;
      else if (!label.hidden && "value" in checked && checked.value !== now[limit]) changes.push([limit, checked.value]);
    }
    setText(wrong, words);
    return words ? null : changes;
  };
  for (const { input } of Object.values(fields)) {
    input.addEventListener("input", () => { input.dataset.typed = ""; check(); }, { signal });
    // The notebook below has its own idea of what letters and arrows mean.
    input.addEventListener("keydown", (event) => event.key === "Escape" || event.stopPropagation(), { signal });
  }
  form.addEventListener(
    "submit",
    (event) => {
      event.preventDefault();
      const changes = check();
      for (const [limit, value] of changes ?? []) ask(limit, value);
      if (changes) for (const { input } of Object.values(fields)) delete input.dataset.typed;
      else form.querySelector<HTMLInputElement>("[aria-invalid]")?.focus();
    },
    { signal },
  );

  return (snapshot: Snapshot, actions: readonly Action[], life: Liveness) => {
    const offered = (["workers", "rate"] as const).filter((limit) => actions.includes(limit));
    title(snapshot.state === "running" && offered.length > 0 ? summary(snapshot) : null);
    const next = { workers: text(snapshot.limit_workers), rate: text(snapshot.per_minute) };
    for (const limit of ["workers", "rate"] as const) {
      const { input, label } = fields[limit];
      label.hidden = !offered.includes(limit);
      // What is being typed is never overwritten; what was asked for shows once the run has it.
      if (input.dataset.typed === undefined && next[limit] !== now[limit]) input.value = next[limit];
    }
    now = next;
    apply.disabled = life === "gone" || life === "cut";
  };
}

function summary({ workers, limit_workers, per_minute }: Snapshot): string {
  const atATime = limit_workers ?? workers;
  const parts = [atATime > 0 ? `${count(atATime)} at a time` : "", per_minute === null ? "" : `${text(per_minute)} a minute`];
  return parts.filter(Boolean).join(", ") || "limits";
}

function field(name: string, id: string) {
  const input = make("input", "dnb-input");
  input.type = "text";
  input.inputMode = "decimal";
  input.autocomplete = "off";
  input.placeholder = "no limit";
  input.id = `${id}-${name.replace(/ /g, "-")}`;
  const label = make("label", "dnb-field", input, name);
  return { input, label };
}

function text(limit: number | null): string {
  return limit === null ? "" : String(Math.round(limit * 100) / 100);
}
