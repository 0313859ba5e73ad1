/** The panel's source that needs no kernel: the database, asked through the server. */

import type { Context, Snapshot, Version } from "../panel/snapshot";
import type { Action, Source } from "../panel/source";
import type { Address } from "./api";
import type { RunFeed } from "./feeds";

/** What a page can do about a run besides asking the run itself. */
export interface Deeds {
  /** Run the cell again; rejects with words. */
  rerun(feed: RunFeed): Promise<void>;
  /** Ask, then drop the results; rejects with words, also if the answer is no. */
  forget(feed: RunFeed): Promise<void>;
}

/** What a live run can be asked for, and what only one that has ended; its cell only runs again in a known notebook. */
export function actionsOf({ state }: Snapshot, { notebook }: Address): readonly Action[] {
  if (state === "running") return ["pause", "resume", "stop", "workers", "rate"];
  return notebook ? ["resume", "retry", "recompute", "forget"] : ["forget"];
}

/** What a live run can be asked for, and what it notes in its history when it has taken that. */
const NOTED: Partial<Readonly<Record<Action, string>>> = {
  pause: "paused",
  resume: "resumed",
  stop: "stopping",
  workers: "limited",
  rate: "limited",
};

/** When a run last took a click of this kind; 0 for never. */
function lastTaken(action: Action, { history }: Context): number {
  return history.reduce((last, { at, kind }) => (kind === NOTED[action] ? Math.max(last, at) : last), 0);
}

async function recompute(feed: RunFeed, versions: readonly Version[], id: string): Promise<void> {
  const older = versions.find((version) => String(version.id) === id);
  const step = versions.find((version) => version.current && version.name === older?.name);
  if (!older || !step) throw new Error("That version is no longer in the database.");
  await feed.api.choose(feed.address, step.id, older.id, "recompute");
}

/** A source whose feed has news already; `visible` says whether anybody can see the panel. */
export function restSource(feed: RunFeed, deeds: Deeds, visible: () => boolean): Source {
  const asked = new Map<Action, number>(); // what is not taken yet, and when it was last taken before
  let taken = (_action: Action): void => undefined;
  let last = feed.news!;
  const now = () => (last = feed.news ?? last); // a feed that loses its run is no longer shown, but may be asked once more

  const request = async (action: Action, value = ""): Promise<void> => {
    const { snapshot, context } = now();
    const live = snapshot.state === "running";
    try {
      if (action === "forget") {
        await deeds.forget(feed);
        return taken(action);
      }
      if (action === "recompute") await recompute(feed, context.versions, value);
      if (!(action in NOTED) || (action === "resume" && !live)) return await deeds.rerun(feed);
      asked.set(action, lastTaken(action, context));
      await feed.api.control(feed.address, action, value);
    } finally {
      feed.hurry();
    }
  };
  return {
    snapshot: () => now().snapshot,
    context: () => now().context,
    sentAt: () => feed.at,
    connected: () => feed.standing !== "unreachable",
    through: "server",
    actions: () => actionsOf(now().snapshot, feed.address),
    request,
    mosaic: (since) => feed.api.mosaic(feed.address, since),
    document: (position) => feed.api.document(feed.address, position),
    listen(listener, signal) {
      taken = (action) => signal.aborted || listener.onTaken(action);
      const onNews = () => {
        listener.onNews();
        for (const [action, before] of asked) {
          if (lastTaken(action, now().context) <= before) continue;
          asked.delete(action);
          listener.onTaken(action);
        }
      };
      feed.watch({ visible, onNews, onStanding: () => listener.onConnection() }, signal);
    },
  };
}
