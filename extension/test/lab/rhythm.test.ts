import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { debounced, pause, Poller } from "../../src/lab/rhythm";

const LIVE = { running: true, visible: true, errors: 0, interval: 300 };

test("what moves and is seen is looked at often, what is hidden seldom, what has ended not at all", () => {
  assert.equal(pause(LIVE), 300);
  assert.equal(pause({ ...LIVE, visible: false }), 5000);
  assert.equal(pause({ ...LIVE, running: false }), null);
  assert.equal(pause({ ...LIVE, visible: false, interval: 8000 }), 8000);
});

test("a server that does not answer is asked less and less, and never more often than every 10 s in the end", () => {
  const waits = [1, 2, 3, 4, 5, 6, 60].map((errors) => pause({ ...LIVE, errors }));
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  assert.equal(pause({ ...LIVE, running: false, errors: 1 }), 500, "also for a run that seemed to be over");
});

test("a poller never asks twice at a time, and asks again when it was woken meanwhile", async () => {
  let open = 0;
  let most = 0;
  let asked = 0;
  const finish: (() => void)[] = [];
  const poller = new Poller(
    async () => {
      asked += 1;
      most = Math.max(most, ++open);
      await new Promise<void>((resolve) => finish.push(resolve));
      open -= 1;
    },
    () => null,
  );
  poller.wake();
  poller.wake();
  poller.wake();
  finish.shift()!();
  await settled(() => asked === 2);
  finish.shift()!();
  await settled(() => open === 0);
  assert.deepEqual([asked, most], [2, 1]);
});

test("a poller counts errors in a row, and stops when the signal aborts", async () => {
  const errors: number[] = [];
  const over = new AbortController();
  const poller = new Poller(
    () => (errors.length < 2 ? Promise.reject(new Error("gone")) : Promise.resolve()),
    (count) => {
      errors.push(count);
      if (errors.length === 4) over.abort();
      return 0;
    },
    over.signal,
  );
  poller.wake();
  await settled(() => errors.length === 4);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(errors, [1, 2, 0, 0]);
});

test("many requests at once are one", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  let times = 0;
  const act = debounced(() => (times += 1), 100);
  act();
  act();
  mock.timers.tick(100);
  act();
  mock.timers.tick(100);
  mock.timers.reset();
  assert.equal(times, 2);
});

async function settled(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200 && !condition(); tries++) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.ok(condition());
}
