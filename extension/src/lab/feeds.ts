/** What is known of a run, asked once for all who look at it. */

import { isEnd, type Snapshot } from "../panel/snapshot";
import type { Address, Api, News } from "./api";
import { ApiError } from "./api";
import { pause, Poller } from "./rhythm";

/** `unknown`: the server answers, but has no such run. */
export type Standing = "asking" | "known" | "unknown" | "unreachable";

export interface Watcher {
  visible(): boolean;
  /** There is an answer, the same or another one. */
  onNews(): void;
  /** `standing` changed. */
  onStanding(): void;
}

const HURRY_MS = 100;
const HURRY_FOR_MS = 3_000;

/** One run, polled while it is live and somebody looks. */
export class RunFeed {
  news: News | null = null;
  /** When `news` came, in ms since the epoch. */
  at = 0;
  standing: Standing = "asking";
  private readonly watchers = new Set<Watcher>();
  private readonly poller: Poller;
  private hurryUntil = 0;

  constructor(
    readonly api: Api,
    public address: Address,
    private readonly interval: () => number,
    private readonly answered: () => void,
  ) {
    this.poller = new Poller(
      () => this.ask(),
      (errors) => this.next(errors),
    );
  }

  /** Told of everything until the signal aborts. */
  watch(watcher: Watcher, signal: AbortSignal): void {
    this.watchers.add(watcher);
    signal.addEventListener("abort", () => this.watchers.delete(watcher));
    this.poller.wake();
  }

  /** Something happened elsewhere: look now. */
  wake(): void {
    if (this.watchers.size > 0) this.poller.wake();
  }

  /** Somebody clicked: look often for a moment, so that the effect is seen when it happens. */
  hurry(): void {
    this.hurryUntil = Date.now() + HURRY_FOR_MS;
    this.wake();
  }

  /** Figures to show until the first answer, from a saved notebook. */
  seed(snapshot: Snapshot): void {
    if (this.news || this.standing !== "asking") return;
    this.news = { snapshot, context: { history: [], versions: [] } };
    this.at = Date.now();
  }

  private async ask(): Promise<void> {
    try {
      this.news = await this.api.run(this.address);
      this.at = Date.now();
      this.stand("known");
    } catch (error) {
      const missing = error instanceof ApiError && error.status === 404;
      if (missing) this.news = null;
      this.stand(missing ? "unknown" : "unreachable");
      if (!missing) throw error;
      return;
    }
    for (const watcher of [...this.watchers]) watcher.onNews();
    this.answered();
  }

  private stand(standing: Standing): void {
    if (this.standing === standing) return;
    this.standing = standing;
    for (const watcher of [...this.watchers]) watcher.onStanding();
  }

  private next(errors: number): number | null {
    if (this.watchers.size === 0) return null;
    if (errors === 0 && Date.now() < this.hurryUntil) return HURRY_MS;
    const visible = !document.hidden && [...this.watchers].some((watcher) => watcher.visible());
    const running = this.news !== null && !isEnd(this.news.snapshot.state);
    return pause({ running, visible, errors, interval: this.interval() });
  }
}

/** The feeds of this page. */
export class Feeds {
  private readonly known = new Map<string, RunFeed>();
  private readonly listeners = new Set<() => void>();

  constructor(
    readonly api: Api,
    private readonly interval: () => number,
  ) {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) for (const feed of this.known.values()) feed.wake();
    });
  }

  /** The one feed of a run; a notebook that was renamed is followed. */
  of(address: Address): RunFeed {
    const key = `${address.store} ${address.name}`;
    const tell = () => {
      for (const listener of this.listeners) listener();
    };
    const feed = this.known.get(key) ?? new RunFeed(this.api, address, this.interval, tell);
    feed.address = address;
    this.known.set(key, feed);
    return feed;
  }

  /** Told of every answer of every feed, until the signal aborts. */
  listen(listener: () => void, signal: AbortSignal): void {
    this.listeners.add(listener);
    signal.addEventListener("abort", () => this.listeners.delete(listener));
  }

  /** What a feed has heard of a run since `at`, so that a list is not behind the panel; null if nothing. */
  since(at: number, store: string, name: string): Snapshot | null {
    const feed = this.known.get(`${store} ${name}`);
    return feed?.news && feed.standing === "known" && feed.at > at ? feed.news.snapshot : null;
  }

  /** A list says how a run stands: if its feed knows otherwise, it looks. */
  heard(store: string, summary: Snapshot): void {
    const feed = this.known.get(`${store} ${summary.name}`);
    const known = feed?.news?.snapshot;
    if (feed && (known?.state !== summary.state || known.attempts !== summary.attempts)) feed.wake();
  }
}
