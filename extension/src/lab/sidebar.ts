/** "Durable runs": those of the open notebook and of the file browser's folder, read without any kernel. */

import type { IDefaultFileBrowser } from "@jupyterlab/filebrowser";
import { PageConfig } from "@jupyterlab/coreutils";
import { Widget } from "@lumino/widgets";

import { make, setText } from "../panel/dom";
import { percentage } from "../panel/figures";
import { duration, speed } from "../panel/format";
import { line } from "../panel/text";
import type { Address, StoreRuns, Summary } from "./api";
import { COMMANDS } from "./commands";
import { button } from "./button";
import type { Extension } from "./extension";
import { runsIcon } from "./icon";
import { figures, remedy } from "./marks";
import { ago, belowRoot, fileName } from "./paths";
import { debounced, pause, Poller } from "./rhythm";

const FILTERS = ["all", "running", "resumable", "failed", "done"] as const;
type Filter = (typeof FILTERS)[number];
const LIST_MS = 1_000;
const IDLE_MS = 10_000;

/** A run of the list. */
interface Entry extends Address {
  readonly run: Summary;
}

export class Sidebar extends Widget {
  private stores: readonly StoreRuns[] = [];
  private at = 0; // of that answer
  private problem = "";
  private asked = false;
  private readonly rows = new Map<string, Row>();
  private readonly filter = make("select", "dnb-side-filter");
  private readonly search = make("input", "dnb-side-search");
  private readonly list = make("ul", "dnb-side-list");
  private readonly empty = make("p", "dnb-side-empty");
  private readonly poller: Poller;

  constructor(
    private readonly extension: Extension,
    private readonly browser: IDefaultFileBrowser | null,
  ) {
    super();
    this.id = "durable-nb-runs";
    this.title.caption = "Durable runs";
    this.title.icon = runsIcon;
    this.addClass("dnb-side");
    this.poller = new Poller(
      () => this.ask(),
      (errors) => this.next(errors),
    );
    this.build();
    const wake = debounced(() => this.isVisible && this.poller.wake(), 100);
    extension.tracker.currentChanged.connect(wake);
    let standing = "";
    extension.listen(() => {
      const now = JSON.stringify(extension.current?.cells().map(({ run }) => [run?.name, run?.state, run?.attempts]));
      if (now !== standing) wake();
      else if (this.isVisible) this.draw();
      standing = now;
    });
    browser?.model.pathChanged.connect(wake);
  }

  protected override onAfterShow(): void {
    this.poller.wake();
  }

  private build(): void {
    const head = make("div", "dnb-side-head");
    const title = make("h2", "dnb-side-title", "Durable runs");
    head.append(title, button("Refresh", () => this.poller.wake()));
    for (const name of FILTERS) this.filter.append(new Option(name === "all" ? "All states" : name, name));
    this.filter.setAttribute("aria-label", "State");
    this.search.type = "search";
    this.search.placeholder = "Filter by name";
    this.search.setAttribute("aria-label", "Filter by name");
    for (const control of [this.filter, this.search]) control.addEventListener("input", () => this.draw());
    const controls = make("div", "dnb-side-controls");
    controls.append(this.search, this.filter);
    this.list.setAttribute("aria-label", "Durable runs");
    this.node.append(head, controls, this.list, this.empty);
  }

  private async ask(): Promise<void> {
    const notebook = this.extension.current?.path();
    const folder = this.extension.app.serviceManager.contents.localPath(this.browser?.model.path ?? "");
    const places = [...(notebook === undefined ? [] : [{ notebook }]), { folder }];
    try {
      const answers = await Promise.all(places.map((place) => this.extension.api.runs(place)));
      // A store that is the notebook's and lies in the folder is listed once.
      const found = new Map(answers.flat().map((store) => [store.store || store.where, store]));
      this.stores = [...found.values()];
      this.at = Date.now();
      this.problem = "";
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      this.asked = true;
      this.draw();
    }
  }

  private next(errors: number): number | null {
    if (!this.isVisible) return null;
    const running = this.stores.some(({ runs }) => runs.some((run) => run.state === "running"));
    return pause({ running, visible: !document.hidden, errors, interval: LIST_MS }) ?? IDLE_MS;
  }

  private entries(): readonly Entry[] {
    const root = PageConfig.getOption("serverRoot");
    const all = this.stores.flatMap(({ store, runs }) =>
      runs.map((listed) => {
        const run = { ...listed, ...this.extension.feeds.since(this.at, store, listed.name) };
        return { store, name: run.name, notebook: belowRoot(run.notebook, root), run };
      }),
    );
    const words = this.search.value.trim().toLowerCase();
    const wanted = this.filter.value as Filter;
    const fits = (run: Summary) =>
      wanted === "all" || (wanted === "resumable" ? remedy(run) !== null : wanted === run.state);
    return all
      .filter(({ name, run }) => fits(run) && name.toLowerCase().includes(words))
      .sort((a, b) => Number(b.run.state === "running") - Number(a.run.state === "running") || b.run.updated - a.run.updated);
  }

  /** Rows are patched, not made anew: the focus stays where it is. */
  private draw(): void {
    const entries = this.entries();
    const nodes = entries.map((entry) => {
      const key = `${entry.store} ${entry.name}`;
      const row = this.rows.get(key) ?? new Row(this.extension);
      this.rows.set(key, row);
      row.draw(entry);
      return row.root;
    });
    const same = nodes.length === this.list.children.length && nodes.every((node, at) => node === this.list.children[at]);
    if (!same) this.list.replaceChildren(...nodes);
    const broken = this.stores.filter(({ error }) => error).map(({ where, error }) => `${where}: ${error}`);
    const some = this.stores.some(({ runs }) => runs.length > 0);
    const none = some ? "No run fits the filter." : "No runs here yet. Write %%durable NAME on top of a cell and run it.";
    const words = [this.problem, ...broken, ...(entries.length > 0 || !this.asked || this.problem ? [] : [none])];
    setText(this.empty, words.filter(Boolean).join("\n"));
    this.empty.hidden = !this.empty.textContent;
  }
}

class Row {
  readonly root = make("li", "dnb-side-run");
  private entry: Entry | null = null;
  private readonly name = make("span", "dnb-side-name");
  private readonly state = make("span", "dnb-side-state");
  private readonly bar = make("div", "dnb-side-bar");
  private readonly counts = make("div", "dnb-side-counts");
  private readonly meta = make("div", "dnb-side-meta");
  private readonly buttons: Readonly<Record<"show" | "open" | "resume" | "retry" | "forget", HTMLButtonElement>>;

  constructor(extension: Extension) {
    const press = (command: string) => () => {
      if (!this.entry) return;
      const { store, name, notebook } = this.entry;
      void extension.app.commands.execute(command, { store, name, notebook });
    };
    this.buttons = {
      resume: button("Resume", press(COMMANDS.resume), "dnb-primary"),
      retry: button("Retry", press(COMMANDS.retry), "dnb-primary"),
      show: button("Show", press(COMMANDS.show)),
      open: button("Open", press(COMMANDS.open)),
      forget: button("Forget", press(COMMANDS.forget)),
    };
    const head = make("div", "dnb-side-row");
    head.append(this.name, this.state);
    this.bar.setAttribute("aria-hidden", "true"); // the counts say it
    const tools = make("div", "dnb-side-tools");
    tools.append(...Object.values(this.buttons));
    this.root.append(head, this.bar, this.counts, this.meta, tools);
  }

  draw(entry: Entry): void {
    this.entry = entry;
    const { run, notebook, name } = entry;
    const live = run.state === "running";
    const state = live && run.paused ? "paused" : run.state;
    this.root.dataset.state = state;
    setText(this.name, name);
    this.name.title = name;
    setText(this.state, line(state, 40));
    const done = percentage(run);
    this.bar.style.setProperty("--dnb-done", `${done ?? 100}%`);
    this.bar.dataset.open = String(done === null);
    const failed = run.failed > 0 ? `${run.failed.toLocaleString("en")} failed` : "";
    const times = live ? [speed(run.rate), run.eta_s === null ? "" : `${duration(run.eta_s)} left`] : [];
    setText(this.counts, [figures(run), failed, ...times].filter(Boolean).join(" · "));
    const when = live ? "" : ago(Date.now() / 1000 - run.updated);
    setText(this.meta, [fileName(notebook || run.notebook), when].filter(Boolean).join(" · "));
    this.meta.title = notebook || run.notebook;
    this.buttons.resume.hidden = remedy(run) !== "Resume" || !notebook;
    this.buttons.retry.hidden = remedy(run) !== "Retry" || !notebook;
    this.buttons.open.hidden = !notebook;
    this.buttons.forget.hidden = live;
    for (const made of Object.values(this.buttons)) made.ariaLabel = `${made.textContent} ${name}`;
  }
}
