/** The first line: state, name, how far, and the buttons. */

import { button, foreign, make, setText } from "../dom";
import type { Liveness } from "../figures";
import { headline, mark, percentage } from "../figures";
import { AGAIN, type Asked } from "../requests";
import type { Snapshot } from "../snapshot";
import type { Action } from "../source";
import { line } from "../text";

export type Ask = (action: Action, value?: string) => void;

export function headView(ask: Ask, signal: AbortSignal) {
  const chip = make("span", "dnb-chip");
  const name = foreign("", "dnb-name");
  const progress = make("span", "dnb-progress");
  const percent = make("span", "dnb-percent");
  const buttons = make("span", "dnb-buttons");
  const far = make("span", "dnb-far", progress, percent);
  const root = make("div", "dnb-head", chip, name, far, buttons);

  const made = new Map<Action, HTMLButtonElement>();
  for (const [action, label] of [["pause", "Pause"], ["resume", "Resume"], ["retry", "Retry failed"], ["stop", "Stop"]] as const) {
    const element = button(label);
    element.hidden = true;
    // Not `disabled`, which would throw the focus away between a click and its effect.
    element.addEventListener("click", () => element.ariaDisabled === "true" || ask(action), { signal });
    made.set(action, element);
    buttons.append(element);
  }

  const draw = (snapshot: Snapshot, life: Liveness, actions: readonly Action[], asked: readonly Asked[]) => {
    const { look, word } = mark(snapshot, life);
    chip.dataset.look = look;
    setText(chip, word);
    setText(name, line(snapshot.name));
    name.title = line(snapshot.name, 1000);
    setText(progress, headline(snapshot));
    const percents = percentage(snapshot);
    setText(percent, percents === null ? "" : `${percents} %`);
    percent.hidden = percents === null;

    const shown = fitting(snapshot, actions);
    const waiting = new Set(asked.filter(({ stage }) => stage !== "refused").map(({ action }) => action));
    for (const [action, element] of made) {
      show(action, shown.includes(action), made);
      if (action === "resume") element.title = snapshot.state === "running" ? "" : AGAIN;
      element.ariaDisabled = String(life === "gone" || life === "cut" || waiting.has(action));
    }
  };
  return { root, draw };
}

/** Which of the actions make sense as it stands. */
function fitting({ state, paused, failed }: Snapshot, actions: readonly Action[]): readonly Action[] {
  const running = state === "running";
  // Going on with a run also tries again what failed in it: one button is enough.
  const cutOff = state === "interrupted" || state === "cancelled" || (state === "failed" && failed === 0);
  const fits: Partial<Readonly<Record<Action, boolean>>> = {
    pause: running && !paused,
    resume: running ? paused : cutOff,
    retry: !running && !cutOff && failed > 0,
    stop: running,
  };
  return actions.filter((action) => fits[action]);
}

/** Pause and Resume stand in the same place. */
const HEIRS: Partial<Readonly<Record<Action, Action>>> = { pause: "resume", resume: "pause" };

/** A button that goes hands the focus to the one in its place, else to the panel: never to the top of the page. */
function show(action: Action, visible: boolean, made: ReadonlyMap<Action, HTMLButtonElement>): void {
  const element = made.get(action)!;
  const focused = document.activeElement === element;
  element.hidden = !visible;
  if (visible || !focused) return;
  const heir = made.get(HEIRS[action] ?? action)!;
  if (heir !== element) heir.hidden = false;
  (heir === element ? element.closest<HTMLElement>(".dnb") : heir)?.focus({ preventScroll: true });
}
