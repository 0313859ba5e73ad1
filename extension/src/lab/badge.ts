/** One line at the foot of a durable cell's code: how far its run is, without any kernel. */

import type { Cell } from "@jupyterlab/cells";

import { make, setText } from "../panel/dom";
import { percentage } from "../panel/figures";
import { AGAIN } from "../panel/requests";
import { button } from "./button";
import { badgeText, remedy } from "./marks";
import type { DurableCell, Located, NotebookRuns } from "./notebook";

interface Pressed {
  show(run: Located): void;
  resume(run: Located): void;
  retry(run: Located): void;
}

/** Keeps the badges of a notebook; `enabled` is asked each time. */
export function keepBadges(runs: NotebookRuns, pressed: Pressed, enabled: () => boolean): void {
  const badges = new WeakMap<Cell, Badge>();
  const drawn = new Set<Cell>();
  const update = () => {
    const wanted = new Map(enabled() ? runs.cells().map((durable) => [durable.cell, durable]) : []);
    for (const cell of drawn) {
      if (wanted.has(cell)) continue;
      badges.get(cell)?.root.remove();
      drawn.delete(cell);
    }
    for (const [cell, durable] of wanted) {
      const host = cell.inputArea?.editorWidget?.node ?? cell.inputArea?.node;
      if (!host) {
        void cell.ready.then(update); // not drawn yet in a long notebook
        continue;
      }
      const badge = badges.get(cell) ?? new Badge(pressed);
      badges.set(cell, badge);
      drawn.add(cell);
      badge.draw(durable);
      if (badge.root.parentElement !== host) host.append(badge.root); // a cell that moved or changed type is made anew
    }
  };
  runs.listen(update);
}

class Badge {
  readonly root = make("div", "dnb-badge");
  private readonly text: HTMLButtonElement;
  private readonly again: HTMLButtonElement;
  private run: Located | null = null;

  constructor(pressed: Pressed) {
    this.text = button("", () => this.run && pressed.show(this.run), "dnb-badge-text");
    const press = (run: Located) => (remedy(run) === "Retry" ? pressed.retry(run) : pressed.resume(run));
    this.again = button("", () => this.run && press(this.run), "dnb-badge-again");
    this.again.title = AGAIN;
    const bar = make("span", "dnb-badge-bar");
    bar.setAttribute("aria-hidden", "true");
    this.root.append(this.text, this.again, bar);
    // The editor would take the focus and put the cursor into the code.
    this.root.addEventListener("mousedown", (event) => event.stopPropagation());
  }

  draw({ run, elsewhere }: DurableCell): void {
    this.run = run;
    setText(this.text, badgeText(run, elsewhere));
    this.text.ariaLabel = `Durable cell: ${badgeText(run, elsewhere)}`;
    this.text.disabled = run === null;
    this.root.dataset.state = run === null ? "none" : run.paused && run.state === "running" ? "paused" : run.state;
    this.root.style.setProperty("--dnb-done", `${run ? (percentage(run) ?? 0) : 0}%`);
    const word = run && remedy(run);
    this.again.hidden = !word;
    setText(this.again, word ?? "");
  }
}
