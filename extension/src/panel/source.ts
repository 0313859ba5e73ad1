/** Where a panel's news come from and its clicks go to; the panel knows nothing else of the outside. */

import type { Snapshot } from "./snapshot";

export type Action = "stop" | "retry";

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
  /** What can be asked for. */
  actions(): readonly Action[];
  /** When the snapshot was made, in ms since the epoch, by the clock of the kernel. */
  sentAt(): number;
  connected(): boolean;
  request(action: Action): void;
  /** Until the signal aborts. */
  listen(listener: Listener, signal: AbortSignal): void;
}
