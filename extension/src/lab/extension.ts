/** What a page knows and can do: the notebooks that are open, and the deeds that need them. */

import type { JupyterFrontEnd } from "@jupyterlab/application";
import { Dialog, MainAreaWidget, showDialog } from "@jupyterlab/apputils";
import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import { Widget } from "@lumino/widgets";

import { render } from "../panel/render";
import type { Address } from "./api";
import { Api } from "./api";
import { Feeds, type RunFeed } from "./feeds";
import { runsIcon } from "./icon";
import { NotebookRuns } from "./notebook";
import { type Deeds, restSource } from "./rest";
import { runAgain, type Say } from "./resume";
import { delay } from "./rhythm";
import { Settings } from "./settings";

const OPEN_MS = 10_000;

export class Extension implements Deeds {
  readonly settings = new Settings();
  readonly api: Api;
  readonly feeds: Feeds;
  private readonly open = new Map<NotebookPanel, NotebookRuns>();
  private readonly shown = new Map<string, MainAreaWidget>();
  private readonly listeners = new Set<() => void>();
  private readonly going = new Map<string, Promise<boolean>>();

  constructor(
    readonly app: JupyterFrontEnd,
    readonly tracker: INotebookTracker,
  ) {
    this.api = new Api(app.serviceManager.serverSettings);
    this.feeds = new Feeds(this.api, () => this.settings.get("pollInterval"));
  }

  /** Called for every notebook that is opened. */
  adopt(panel: NotebookPanel): NotebookRuns {
    const path = () => this.app.serviceManager.contents.localPath(panel.context.path);
    const runs = new NotebookRuns(panel, path, this.feeds);
    this.open.set(panel, runs);
    panel.disposed.connect(() => this.open.delete(panel));
    runs.listen(() => {
      for (const listener of this.listeners) listener();
    });
    return runs;
  }

  /** Told when the runs of any open notebook changed. */
  listen(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** The notebook in front, or null. */
  get current(): NotebookRuns | null {
    const panel = this.tracker.currentWidget;
    return (panel && this.open.get(panel)) ?? null;
  }

  /** Everything that is drawn from settings or lists is drawn again. */
  refresh(): void {
    for (const runs of this.open.values()) runs.refresh();
  }

  /** The notebook of a run, opened if it is not; its kernel is started by Lab. */
  async notebookOf({ notebook }: Address): Promise<NotebookRuns> {
    if (!notebook) throw new Error("It is not known which notebook the run belongs to.");
    const find = () => [...this.open.values()].find((runs) => runs.path() === notebook);
    const there = find();
    if (there) {
      this.app.shell.activateById(there.panel.id);
      return there;
    }
    await this.app.commands.execute("docmanager:open", { path: notebook });
    const end = Date.now() + OPEN_MS; // the tracker hears of it a little later than we do
    while (!find() && Date.now() < end) await delay(50);
    const opened = find();
    if (!opened) throw new Error(`${notebook} could not be opened as a notebook.`);
    await opened.panel.context.ready;
    await opened.panel.sessionContext.ready;
    return opened;
  }

  /** Run the cell again; see `runAgain`. A second click, here or elsewhere, waits for the first. */
  again(address: Address, say: Say = () => undefined): Promise<boolean> {
    const key = `${address.store} ${address.name}`;
    const go = async () => runAgain(this.api, await this.notebookOf(address), address, say);
    const going = this.going.get(key) ?? go().finally(() => this.going.delete(key));
    this.going.set(key, going);
    return going;
  }

  async rerun({ address }: RunFeed): Promise<void> {
    if (!(await this.again(address))) throw new Error("Nothing was run.");
  }

  async forget({ address }: Pick<RunFeed, "address">): Promise<void> {
    if (!(await this.drop(address))) throw new Error("Nothing was forgotten.");
  }

  /** Ask, then drop the results of a run; whether they are. */
  async drop(address: Address): Promise<boolean> {
    const { button } = await showDialog({
      title: `Forget “${address.name}”?`,
      body: "Its saved results are dropped from the database. The next run computes all of them.",
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: "Forget" })],
      defaultButton: 0,
    });
    if (!button.accept) return false;
    await this.api.forget(address);
    this.refresh();
    return true;
  }

  /** The panel of a run beside the notebook; no kernel is needed. */
  show(address: Address): void {
    const key = `${address.store} ${address.name}`;
    const there = this.shown.get(key);
    if (there && !there.isDisposed) return this.app.shell.activateById(there.id);
    const widget = runPanel(this.feeds.of(address), this);
    widget.id = `durable-nb-run-${address.store}-${address.name}`;
    this.shown.set(key, widget);
    widget.disposed.connect(() => this.shown.delete(key));
    this.app.shell.add(widget, "main", { mode: "split-right" });
    this.app.shell.activateById(widget.id);
  }
}

function runPanel(feed: RunFeed, deeds: Deeds): MainAreaWidget {
  const content = new Widget();
  content.addClass("dnb-run");
  const widget = new MainAreaWidget({ content });
  widget.title.label = feed.address.name;
  widget.title.icon = runsIcon;
  widget.title.closable = true;
  const closed = new AbortController();
  widget.disposed.connect(() => closed.abort());
  let drawing: AbortController | null = null;
  const draw = () => {
    if (feed.news && !drawing) {
      drawing = new AbortController();
      content.node.replaceChildren();
      render(content.node, restSource(feed, deeds, () => content.isVisible), drawing.signal);
    } else if (!feed.news) {
      drawing?.abort();
      drawing = null;
      content.node.textContent =
        feed.standing === "unknown" ? "This run is no longer in the database." : "The Jupyter server does not answer.";
    }
  };
  closed.signal.addEventListener("abort", () => drawing?.abort());
  feed.watch({ visible: () => content.isVisible, onNews: draw, onStanding: draw }, closed.signal);
  if (feed.news) draw();
  return widget;
}
