import assert from "node:assert/strict";
import { test } from "node:test";

import { feed } from "../src/panel/feed";
import { Mosaic } from "../src/panel/mosaic";
import type { Snapshot } from "../src/panel/snapshot";
import type { Source } from "../src/panel/source";
import { snapshot } from "./fixture";

/** A full message of a version. */
function full(version: number, states: readonly number[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(9 + states.length));
  view.setUint32(1, version, true);
  view.setUint32(5, states.length, true);
  states.forEach((state, index) => view.setUint8(9 + index, state));
  return view.buffer;
}

async function shown(...news: readonly (readonly [Partial<Snapshot>, readonly number[]])[]): Promise<number[]> {
  const mosaic = new Mosaic();
  let now: readonly number[] = [];
  let version = 0;
  const source = {
    mosaic: async (since: number) => (since === version ? null : full(version, now)),
  } as unknown as Source;
  const fed = feed(source, mosaic, () => undefined, new AbortController().signal);
  for (const [fields, states] of news) {
    const told = snapshot(fields);
    [now, version] = [states, told.mosaic_version];
    fed.news(told);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return [...mosaic.states];
}

test("a database that is made anew is asked for its squares, whatever it counts", async () => {
  const before = { run_id: 1, attempts: 1, created: 100, mosaic_version: 7 };
  for (const mosaic_version of [3, 7, 9])
    assert.deepEqual(await shown([before, [2, 2, 2]], [{ ...before, created: 200, mosaic_version }, [3, 1, 0]]), [3, 1, 0]);
});

test("what has not changed is not asked for", async () => {
  const same = { run_id: 1, attempts: 1, created: 100, mosaic_version: 7 };
  assert.deepEqual(await shown([same, [2, 2]], [same, [3, 3]]), [2, 2]);
});
