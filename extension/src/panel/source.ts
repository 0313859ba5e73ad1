/** Where a panel's news come from and its clicks go to; the panel knows nothing else of the outside. */

import type { Context, RunDocument, Snapshot } from "./snapshot";

export const ACTIONS = ["pause", "resume", "stop", "retry", "workers", "rate", "recompute", "forget"] as const;
/** With a value: `workers` and `rate` (a number, "" for no limit), `recompute` (the id of the older version). */
export type Action = (typeof ACTIONS)[number];

export interface Listener {
  /** A message arrived, with or without changes. */
  onNews(): void;
  /** The run has taken note of a click. */
  onTaken(action: Action): void;
  /** The connection came or went: ask `connected()`. */
  onConnection(): void;
}

export interface Source {
  snapshot(): Snapshot;
  context(): Context;
  /** When the snapshot was made, in ms since the epoch, by the clock of the kernel. */
  sentAt(): number;
  connected(): boolean;
  /** What is gone when it is not connected: the kernel that computes, unless it says otherwise. */
  readonly through?: "kernel" | "server";
  /** What can be asked for; a button of any other action is not shown. */
  actions(): readonly Action[];
  /** Rejects with a sentence for the reader. Resolving means sent; `onTaken` means that the run knows. */
  request(action: Action, value?: string): Promise<void> | void;
  /**
   * What changed in the mosaic after version `since` (0: all of it), as `decode` of mosaic.ts reads it; null for
   * nothing now. A source that is told later calls `onNews` then, and is asked again.
   */
  mosaic?(since: number): Promise<ArrayBuffer | null>;
  document?(position: number): Promise<RunDocument | null>;
  /** Until the signal aborts. */
  listen(listener: Listener, signal: AbortSignal): void;
}
