/** Failures put together by what went wrong. */

import type { Failure, Snapshot } from "./snapshot";

export interface Section {
  readonly error: string;
  /** Documents with this error, shown or not. */
  readonly count: number;
  /** Those of them that the snapshot names. */
  readonly failures: readonly Failure[];
}

export interface Grouped {
  readonly sections: readonly Section[];
  /** Failed documents with none of these errors. */
  readonly rest: number;
}

/** The most frequent error first; a kernel that sends no groups is helped out with the failures it names. */
export function grouped({ failures, groups, failed }: Pick<Snapshot, "failures" | "groups" | "failed">): Grouped {
  const named = new Map<string, Failure[]>(groups.map(({ error }) => [error, []]));
  for (const failure of failures) {
    const alike = named.get(failure.error);
    if (alike) alike.push(failure);
    else named.set(failure.error, [failure]);
  }
  const counts = new Map(groups.map(({ error, count }) => [error, count]));
  const sections = [...named].map(([error, alike]) => ({
    error,
    count: Math.max(counts.get(error) ?? 0, alike.length),
    failures: alike,
  }));
  sections.sort((a, b) => b.count - a.count); // stable: equal ones stay in the order of the documents
  const seen = sections.reduce((sum, { count }) => sum + count, 0);
  return { sections, rest: Math.max(0, failed - seen) };
}
