/** Keeps a mosaic up to date: asks the source for what changed, one question at a time. */

import type { Mosaic } from "./mosaic";
import { decode } from "./mosaic";
import type { Snapshot } from "./snapshot";
import type { Source } from "./source";

export interface Feed {
  /** Whether a mosaic is to be had, or has come. */
  readonly hopeful: boolean;
  readonly arrived: boolean;
  news(snapshot: Snapshot): void;
}

/** `changed` is called with the positions that changed, null when any may have. */
export function feed(source: Source, mosaic: Mosaic, changed: (positions: Uint32Array | null) => void, signal: AbortSignal): Feed {
  let wanted = 0;
  let era = "";
  let arrived = false;
  let broken = false;
  let asking = false;
  let again = false;

  const ask = async () => {
    again = true;
    if (asking) return;
    asking = true;
    try {
      while (again && wanted > mosaic.version) {
        again = false;
        const asked = era;
        const buffer = await source.mosaic!(mosaic.version);
        if (signal.aborted) return;
        if (!buffer || asked !== era) continue;
        again = true; // a source that was sent several messages hands out one at a time
        const positions = mosaic.apply(decode(buffer));
        arrived = true;
        changed(positions);
      }
    } catch (error) {
      // Not to be had now: the next news ask again. Damage is not asked for again, it would come five times a second.
      broken = error instanceof TypeError && error.message.startsWith("mosaic:");
      if (broken) console.warn(`durable_nb: ${(error as Error).message}`);
    } finally {
      asking = false;
    }
  };

  return {
    get hopeful() {
      return source.mosaic !== undefined && !broken && (arrived || wanted > 0);
    },
    get arrived() {
      return arrived;
    },
    news({ run_id, created, attempts, mosaic_version }) {
      const now = `${run_id} ${created} ${attempts}`;
      if (now !== era) [era, broken, mosaic.version] = [now, false, 0]; // another attempt, or database, counts from the beginning
      wanted = mosaic_version;
      if (source.mosaic && !broken && wanted > mosaic.version) void ask();
    },
  };
}
