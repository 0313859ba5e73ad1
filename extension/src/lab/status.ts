/** In the status bar: the runs of the notebook in front that are live. */

import { Widget } from "@lumino/widgets";

import { setText } from "../panel/dom";
import { percentage } from "../panel/figures";
import { button } from "./button";
import type { Extension } from "./extension";

export class Status extends Widget {
  private readonly text: HTMLButtonElement;

  constructor(
    private readonly extension: Extension,
    pressed: () => void,
  ) {
    super();
    this.addClass("dnb-status");
    this.text = button("", pressed, "dnb-status-text");
    this.node.append(this.text);
    extension.listen(() => this.draw());
    extension.tracker.currentChanged.connect(() => this.draw());
    this.draw();
  }

  draw(): void {
    const runs = this.extension.current?.cells().flatMap(({ run }) => (run?.state === "running" ? [run] : [])) ?? [];
    const [first] = runs;
    this.node.hidden = !first || !this.extension.settings.get("statusBar");
    if (!first) return;
    const done = percentage(first);
    const more = runs.length > 1 ? ` +${runs.length - 1}` : "";
    const how = first.paused ? "paused" : done === null ? "running" : `${done} %`;
    setText(this.text, `${first.name} ${how}${more}`);
    this.text.title = "Durable runs of this notebook";
    this.node.dataset.state = first.paused ? "paused" : "running";
    this.node.style.setProperty("--dnb-done", `${done ?? 0}%`);
  }
}
