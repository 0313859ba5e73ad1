import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import type { Address, News } from "../../src/lab/api";
import type { RunFeed, Watcher } from "../../src/lab/feeds";
import { actionsOf, restSource } from "../../src/lab/rest";
import { parse, type Snapshot } from "../../src/panel/snapshot";
import type { Action } from "../../src/panel/source";

const fixture = parse(JSON.parse(readFileSync("../tests/fixtures/snapshot.json", "utf8")));
const RUNNING: Snapshot = { ...fixture, state: "running", paused: false, limit_workers: null, per_minute: null };

/** A feed that notes what it is asked, and is told its news by the test. */
function feed(snapshot: Snapshot) {
  const asked: unknown[][] = [];
  const watchers: Watcher[] = [];
  const version = (id: number, current: boolean) => ({ id, name: "embed", fingerprint: `f${id}`, saved: 1, current });
  const fake = {
    news: { snapshot, context: { history: [], versions: [version(1, false), version(2, true)] } } as News,
    standing: "known",
    at: 7,
    address: { store: "s", name: "n", notebook: "a.ipynb" } as Address,
    api: {
      control: async (_address: Address, ...rest: unknown[]) => void asked.push(["control", ...rest]),
      choose: async (_address: Address, ...rest: unknown[]) => void asked.push(["choose", ...rest]),
    },
    watch: (watcher: Watcher) => void watchers.push(watcher),
    hurry: () => asked.push(["hurry"]),
  };
  const deeds = { rerun: async () => void asked.push(["rerun"]), forget: async () => void asked.push(["forget"]) };
  const source = restSource(fake as unknown as RunFeed, deeds, () => true);
  const tell = (changes: Partial<Snapshot>, ...kinds: string[]) => {
    const { snapshot: before, context } = fake.news;
    const history = [...context.history, ...kinds.map((kind) => ({ at: context.history.length + 1, kind, detail: "" }))];
    fake.news = { snapshot: { ...before, ...changes }, context: { ...context, history } };
    for (const watcher of watchers) watcher.onNews();
  };
  return { source, asked, tell, fake };
}

function listener(log: string[]) {
  return {
    onNews: () => log.push("news"),
    onTaken: (action: Action) => log.push(`taken ${action}`),
    onConnection: () => log.push("connection"),
  };
}

test("a click on a live run is a row of the database, and is taken when the run has noted it", async () => {
  const log: string[] = [];
  const { source, asked, tell } = feed(RUNNING);
  tell({}, "started", "paused", "resumed");
  source.listen(listener(log), new AbortController().signal);
  await source.request("pause");
  tell({});
  tell({ paused: true }, "paused");
  tell({ paused: true });
  assert.deepEqual(asked, [["control", "pause", ""], ["hurry"]]);
  assert.deepEqual(log, ["news", "news", "taken pause", "news"]);
});

test("resume means the cell when nobody computes, and a control while somebody does", async () => {
  const dead = feed({ ...RUNNING, state: "interrupted" });
  await dead.source.request("resume");
  await dead.source.request("retry");
  const live = feed({ ...RUNNING, paused: true });
  await live.source.request("resume");
  assert.deepEqual(dead.asked, [["rerun"], ["hurry"], ["rerun"], ["hurry"]]);
  assert.deepEqual(live.asked, [["control", "resume", ""], ["hurry"]]);
});

test("an older version is computed again by choosing so and running the cell", async () => {
  const { source, asked } = feed({ ...RUNNING, state: "done" });
  await source.request("recompute", "1");
  assert.deepEqual(asked, [["choose", 2, 1, "recompute"], ["rerun"], ["hurry"]]);
  await assert.rejects(async () => source.request("recompute", "9"), /no longer in the database/);
});

test("what is offered depends on whether somebody computes, and on whether there is a notebook", () => {
  const address = { store: "s", name: "n", notebook: "a.ipynb" };
  const offered = (state: string, at: Address = address) => actionsOf({ ...RUNNING, state }, at);
  assert.ok(offered("running").includes("pause"));
  assert.ok(!offered("running").includes("forget"));
  for (const state of ["interrupted", "failed", "done"]) {
    assert.deepEqual(offered(state), ["resume", "retry", "recompute", "forget"]);
  }
  assert.deepEqual(offered("interrupted", { ...address, notebook: "" }), ["forget"]);
});

test("a run is forgotten when that was confirmed, and the panel is told", async () => {
  const log: string[] = [];
  const { source, asked } = feed({ ...RUNNING, state: "done" });
  source.listen(listener(log), new AbortController().signal);
  await source.request("forget");
  assert.deepEqual(asked, [["forget"], ["hurry"]]);
  assert.deepEqual(log, ["taken forget"]);
});

test("a source keeps its last figures when the run is dropped, and tells when the server is gone", () => {
  const { source, fake } = feed(RUNNING);
  fake.news = null as unknown as News;
  fake.standing = "unreachable";
  assert.equal(source.snapshot().state, "running");
  assert.equal(source.connected(), false);
  assert.equal(source.through, "server");
});
