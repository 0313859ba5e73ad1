/** How often to look, and the clockwork that does. */

export interface Circumstances {
  /** Something moves. */
  readonly running: boolean;
  /** Somebody can see it. */
  readonly visible: boolean;
  /** Looks in a row that failed. */
  readonly errors: number;
  /** Milliseconds between two looks at what moves and is seen. */
  readonly interval: number;
}

const HIDDEN_MS = 5_000;
const LONGEST_MS = 10_000;

/** Milliseconds until the next look; null when only an event can bring news. */
export function pause({ running, visible, errors, interval }: Circumstances): number | null {
  // Doubling from the interval on, so that a server that restarts is found again soon, and one that is gone left alone.
  if (errors > 0) return Math.min(LONGEST_MS, Math.max(interval, 500) * 2 ** Math.min(errors - 1, 10));
  if (!running) return null;
  return visible ? interval : Math.max(interval, HIDDEN_MS);
}

/** Asks again and again, never twice at a time, until the signal aborts. */
export class Poller {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking = false;
  private again = false;
  private errors = 0;

  constructor(
    private readonly ask: () => Promise<void>,
    private readonly next: (errors: number) => number | null,
    private readonly signal?: AbortSignal,
  ) {
    signal?.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /** Ask now; when it is asking already, again after that, because what woke it may be newer than the answer. */
  wake(): void {
    clearTimeout(this.timer);
    if (this.asking) this.again = true;
    else void this.turn();
  }

  private async turn(): Promise<void> {
    if (this.signal?.aborted) return;
    this.asking = true;
    try {
      await this.ask();
      this.errors = 0;
    } catch {
      this.errors += 1; // whoever asks has said so already where people read it
    }
    this.asking = false;
    const ms = this.again ? 0 : this.next(this.errors);
    this.again = false;
    if (ms !== null && !this.signal?.aborted) this.timer = setTimeout(() => void this.turn(), ms);
  }
}

/** Calls `act` once, `ms` after the first of many requests. */
export function debounced(act: () => void, ms: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      act();
    }, ms);
  };
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
