/** The output of a run: its panel from the database, else what the saved output can still show. */

import type { IMimeModel, IRenderer, IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { Panel, Widget } from "@lumino/widgets";

import { render } from "../panel/render";
import { isEnd, parse, type Snapshot } from "../panel/snapshot";
import type { RunFeed } from "./feeds";
import { MIME } from "./marks";
import { type Deeds, restSource } from "./rest";

const VIEW = "application/vnd.jupyter.widget-view+json";
const NO_VIEW = /^\s*((Error (displaying|creating)|Loading) widget.*)?\s*$/s;
const HEAL_MS = 1_500; // the kernel, if it lives, ends the output itself; ours is for one that was cut off

export interface Surroundings {
  readonly rendermime: IRenderMimeRegistry;
  readonly deeds: Deeds;
  feed(store: string, name: string): RunFeed;
  visible(): boolean;
  /** Replace an output of the notebook. */
  heal(model: IMimeModel, data: Readonly<Record<string, unknown>>): void;
}

/** What stands in the notebook: text from anywhere, so it is only ever compared and shown as text. */
interface Saved {
  readonly store: string;
  readonly name: string;
  readonly snapshot: Snapshot | null;
}

type Shown = "nothing" | "panel" | "view" | "picture";

export class RunOutput extends Panel implements IRenderer {
  private model: IMimeModel | null = null;
  private saved: Saved | null = null;
  private feed: RunFeed | null = null;
  private shown: Shown = "nothing";
  private watching = new AbortController();
  private drawing = new AbortController();
  private healing: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly around: Surroundings) {
    super();
    this.addClass("dnb-output");
    this.disposed.connect(() => {
      this.watching.abort();
      this.drawing.abort();
      clearTimeout(this.healing);
    });
  }

  /** Called again whenever the kernel updates the output; what is drawn already goes on. */
  async renderModel(model: IMimeModel): Promise<void> {
    const before = this.model;
    this.model = model;
    const saved = read(model.data[MIME]);
    const same = saved !== null && this.saved?.store === saved.store && this.saved.name === saved.name;
    this.saved = saved;
    if (!same) this.follow();
    else if (this.shown === "picture") this.showSaved();
    else if (this.shown === "view" && viewId(model) !== viewId(before)) this.showSaved();
    this.decide();
  }

  /** From now on it is about another run, or about none that can be asked for. */
  private follow(): void {
    this.watching.abort();
    this.watching = new AbortController();
    this.feed = this.saved && this.around.feed(this.saved.store, this.saved.name);
    if (!this.feed) return this.showSaved();
    if (this.saved?.snapshot) this.feed.seed(this.saved.snapshot);
    this.show("nothing");
    const changed = () => this.decide();
    const visible = () => this.isVisible && this.around.visible();
    this.feed.watch({ visible, onNews: changed, onStanding: changed }, this.watching.signal);
  }

  private decide(): void {
    if (!this.feed || this.isDisposed) return;
    if (this.feed.news) {
      if (this.shown !== "panel") this.show("panel");
      this.considerHealing();
    } else if (this.feed.standing !== "asking" && (this.shown === "nothing" || this.shown === "panel")) {
      this.showSaved();
    }
  }

  /** The database does not know the run: the picture, and the view of the widget once that proves to be alive. */
  private showSaved(): void {
    this.show("picture");
    if (this.model?.trusted && viewId(this.model)) void this.tryView(this.model);
  }

  private show(shown: Shown): void {
    this.drawing.abort();
    this.drawing = new AbortController();
    for (const child of [...this.widgets]) child.dispose();
    this.shown = shown;
    this.node.dataset.shows = shown;
    if (shown === "panel") {
      const child = new Widget();
      this.addWidget(child);
      const visible = () => this.isVisible && this.around.visible();
      render(child.node, restSource(this.feed!, this.around.deeds, visible), this.drawing.signal);
    } else if (shown === "picture" && this.model) {
      // The notebook's own renderer, so that what is not trusted is sanitized as everywhere else.
      const type = ["text/html", "text/plain"].find((mime) => this.model!.data[mime]) ?? "text/plain";
      const child = this.around.rendermime.createRenderer(type);
      void child.renderModel(this.model);
      this.addWidget(child);
    }
  }

  /** A view says "Loading widget" while its kernel is busy, and that there is none when that is gone. */
  private async tryView(model: IMimeModel): Promise<void> {
    if (!this.around.rendermime.mimeTypes.includes(VIEW)) return;
    const { signal } = this.drawing;
    const view = this.around.rendermime.createRenderer(VIEW);
    signal.addEventListener("abort", () => view.dispose());
    view.node.hidden = true;
    this.addWidget(view);
    const look = () => {
      if (signal.aborted || NO_VIEW.test(view.node.textContent ?? "")) return;
      observer.disconnect();
      view.node.hidden = false;
      for (const child of [...this.widgets]) if (child !== view) child.dispose();
      this.shown = "view";
      this.node.dataset.shows = "view";
    };
    const observer = new MutationObserver(look);
    observer.observe(view.node, { childList: true, subtree: true, characterData: true });
    signal.addEventListener("abort", () => observer.disconnect());
    await view.renderModel(model).catch(() => undefined);
    look();
  }

  /** A run that has ended is written into the notebook, if the one who should have done it could not. */
  private considerHealing(): void {
    const stale = () => {
      const { feed, model, saved } = this;
      const now = feed?.standing === "known" ? feed.news?.snapshot : undefined;
      if (!now || !isEnd(now.state) || !model?.trusted) return false;
      const old = saved?.snapshot;
      const same = old?.state === now.state && old.durable === now.durable && old.failed === now.failed;
      return !same || VIEW in model.data;
    };
    if (this.healing !== undefined || !stale()) return;
    this.healing = setTimeout(async () => {
      const { feed, model } = this;
      // A server that does not answer now is asked again at the next news.
      const output = stale() && (await feed!.api.output(feed!.address).catch(() => null));
      this.healing = undefined;
      if (output && model === this.model && stale() && !this.isDisposed) this.around.heal(model!, output);
    }, HEAL_MS);
  }
}

function viewId(model: IMimeModel | null): unknown {
  return (model?.data[VIEW] as { model_id?: unknown } | undefined)?.model_id;
}

function read(raw: unknown): Saved | null {
  const { store, name, snapshot } = (raw ?? {}) as { store?: unknown; name?: unknown; snapshot?: unknown };
  if (typeof store !== "string" || typeof name !== "string" || !store || !name) return null;
  try {
    return { store, name, snapshot: parse(snapshot) };
  } catch {
    return { store, name, snapshot: null }; // of a later version: the database has it, or the picture
  }
}
