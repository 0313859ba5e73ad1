/** The durable cells of an open notebook and their runs, kept fresh for badge, banner, sidebar and status bar. */

import type { Cell } from "@jupyterlab/cells";
import { type NotebookPanel, NotebookActions } from "@jupyterlab/notebook";

import type { Address, StoreRuns, Summary } from "./api";
import type { Feeds } from "./feeds";
import { markOf, MIME, runOf } from "./marks";
import { debounced, pause, Poller } from "./rhythm";

/** A run, and the store it lies in. */
export interface Located extends Summary {
  readonly store: string;
}

export interface DurableCell {
  readonly cell: Cell;
  readonly index: number;
  /** "" when the mark bears none. */
  readonly name: string;
  readonly run: Located | null;
  /** Its output is of a store that the server does not show. */
  readonly elsewhere: boolean;
}

interface Execution {
  readonly notebook: unknown;
  readonly cell: Cell;
}

const SETTLE_MS = 300; // a kernel tells "busy" and "idle" for every message
const LIST_MS = 1_000;
const IDLE_MS = 15_000; // runs can also be started, dropped or finished from elsewhere

export class NotebookRuns {
  /** As of the last answer; null before the first. */
  private stores: readonly StoreRuns[] | null = null;
  /** When the last list that was answered was asked for. */
  asked = 0;
  private readonly listeners = new Set<() => void>();
  private readonly poller: Poller;
  private readonly over = new AbortController();
  /** Cells that have run in the kernel that is there now, by id. */
  private readonly ran = new Set<string>();

  constructor(
    readonly panel: NotebookPanel,
    /** Relative to the server's root; it follows a renamed notebook. */
    readonly path: () => string,
    private readonly feeds: Feeds,
  ) {
    this.poller = new Poller(
      () => this.ask(),
      (errors) => this.next(errors),
      this.over.signal,
    );
    this.followKernel();
    this.followNotebook();
    void panel.context.ready.then(() => this.poller.wake());
  }

  /** Told when runs or cells changed, until the notebook is closed. */
  listen(listener: () => void): void {
    this.listeners.add(listener);
  }

  refresh(): void {
    this.poller.wake();
  }

  /** In the order of the notebook. */
  cells(): readonly DurableCell[] {
    const runs = this.runs();
    const found: DurableCell[] = [];
    this.panel.content.widgets.forEach((cell, index) => {
      const name = cell.model.type === "code" ? markOf(cell.model.sharedModel.getSource()) : null;
      if (name === null) return;
      const run = runOf({ id: cell.model.id, name }, this.path(), runs);
      found.push({ cell, index, name, run, elsewhere: !run && this.isElsewhere(cell) });
    });
    return found;
  }

  /** The cell of a run, or undefined. */
  cellOf({ store, name }: Address): DurableCell | undefined {
    const cells = this.cells();
    // A run that has never been kept yet, or lies in a store of the cell's own, is found by its name alone.
    return cells.find(({ run }) => run?.store === store && run.name === name) ?? cells.find((cell) => cell.name === name);
  }

  address(run: Located): Address {
    return { store: run.store, name: run.name, notebook: this.path() };
  }

  /** Whether the kernel that is there now has run this cell. */
  hasRun(cell: Cell): boolean {
    return this.ran.has(cell.model.id);
  }

  private followKernel(): void {
    const session = this.panel.sessionContext;
    const wake = debounced(() => this.poller.wake(), SETTLE_MS);
    session.statusChanged.connect((_session, status) => {
      if (/restarting|dead/.test(status)) this.ran.clear();
      wake();
    });
    session.kernelChanged.connect(() => {
      this.ran.clear();
      wake();
    });
    session.connectionStatusChanged.connect(wake);
    // Noted at the start: the end of a cell whose kernel died is told when there is another kernel, which has not run it.
    const onScheduled = (_sender: unknown, { notebook, cell }: Execution) => {
      if (notebook === this.panel.content) this.ran.add(cell.model.id);
    };
    const onExecuted = (_sender: unknown, { notebook, cell }: Execution) => {
      if (notebook !== this.panel.content) return;
      if (markOf(cell.model.sharedModel.getSource()) === null) wake();
      else this.poller.wake(); // somebody waits for the end of this one
    };
    NotebookActions.executionScheduled.connect(onScheduled);
    NotebookActions.executed.connect(onExecuted);
    this.over.signal.addEventListener("abort", () => {
      NotebookActions.executionScheduled.disconnect(onScheduled);
      NotebookActions.executed.disconnect(onExecuted);
    });
  }

  private followNotebook(): void {
    const { panel, over } = this;
    panel.disposed.connect(() => over.abort());
    panel.context.pathChanged.connect(() => this.poller.wake());
    panel.content.modelContentChanged.connect(debounced(() => this.onEdit(), SETTLE_MS));
    this.feeds.listen(() => this.tell(), over.signal);
    const onVisible = () => this.visible && this.poller.wake();
    document.addEventListener("visibilitychange", onVisible, { signal: over.signal });
  }

  private runs(): readonly Located[] {
    const newest = (store: string, run: Summary) => ({ ...run, ...this.feeds.since(this.asked, store, run.name), store });
    return (this.stores ?? []).flatMap(({ store, runs }) => runs.map((run) => newest(store, run)));
  }

  private isElsewhere({ model: { outputs } }: Cell): boolean {
    for (let index = 0; index < (outputs?.length ?? 0); index++) {
      const saved = outputs!.get(index).data[MIME] as { store?: unknown } | undefined;
      if (saved && this.stores?.every(({ store }) => store !== saved.store)) return true;
    }
    return false;
  }

  private get visible(): boolean {
    return !document.hidden && this.panel.isVisible;
  }

  private onEdit(): void {
    if (this.stores === null) this.poller.wake();
    this.tell();
  }

  private async ask(): Promise<void> {
    if (this.cells().length === 0) return; // a notebook without durable cells costs nothing
    const before = new Map(this.stores?.map(({ store, runs }) => [store, runs]));
    const asked = Date.now();
    const answer = await this.feeds.api.runs({ notebook: this.path() });
    // A database that could not be read this time has not lost its runs.
    this.stores = answer.map((found) => (found.error ? { ...found, runs: before.get(found.store) ?? [] } : found));
    this.asked = asked;
    for (const { store, runs } of this.stores) for (const run of runs) this.feeds.heard(store, run);
    this.tell();
  }

  private tell(): void {
    if (!this.panel.isDisposed) for (const listener of this.listeners) listener();
  }

  private next(errors: number): number | null {
    const cells = this.cells();
    if (cells.length === 0) return null;
    const busy = this.panel.sessionContext.session?.kernel?.status === "busy";
    const running = busy || cells.some(({ run }) => run?.state === "running");
    const ms = pause({ running, visible: this.visible, errors, interval: LIST_MS });
    return ms ?? (this.visible ? IDLE_MS : null);
  }
}
