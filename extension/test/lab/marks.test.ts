import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { badgeText, markOf, remedy, runOf } from "../../src/lab/marks";
import type { Snapshot } from "../../src/panel/snapshot";
import { parse } from "../../src/panel/snapshot";

const fixture = parse(JSON.parse(readFileSync("../tests/fixtures/snapshot.json", "utf8")));

function snapshot(changes: Partial<Snapshot>): Snapshot {
  return { ...fixture, failed: 0, total: 3000, durable: 1882, ...changes };
}

test("the first line marks a cell, with or without a name", () => {
  const cells: [string, string | null][] = [
    ["%%durable embed\nwork()", "embed"],
    ["%%durable\nwork()", ""],
    ["%%durable 'embed'\nwork()", "embed"],
    ["%%durable --on-change keep embed --db a.db\nwork()", "embed"],
    ["%%durable --yes embed", "embed"],
    ["%durable embed  \nwork()", "embed"],
    ["%durable embed", null], // alone it shows the run
    ["%durable embed\n\n", null],
    ["%durable show embed\nwork()", null],
    ["%durable explain", null],
    ["%%durably x", null],
    ["%%durablex", null],
    ["\n%%durable embed", null], // the mark must stand first
    ["x = '%%durable embed'", null],
    ["", null],
  ];
  for (const [source, name] of cells) assert.equal(markOf(source), name, source);
});

test("the name decides whose a run is, and the cell only helps", () => {
  const run = (name: string, cell: string, notebook: string, updated: number) => ({ name, cell, notebook, updated });
  const runs = [
    run("embed", "c1", "/home/a/one.ipynb", 1),
    run("embed", "c2", "/home/a/two.ipynb", 2),
    run("embed", "c9", "/home/a/three.ipynb", 3),
    run("derived-name", "c4", "/home/a/one.ipynb", 4),
  ];
  const find = (id: string, name: string, path: string) => runOf({ id, name }, path, runs)?.updated;
  assert.equal(find("c2", "embed", "renamed.ipynb"), 2);
  assert.equal(find("copied", "embed", "one.ipynb"), 1);
  assert.equal(find("copied", "embed", "renamed.ipynb"), 3, "the newest, when nothing else helps");
  assert.equal(find("c1", "other", "one.ipynb"), undefined, "another name is another run");
  assert.equal(find("c4", "", "one.ipynb"), 4);
  assert.equal(find("c5", "", "one.ipynb"), undefined);
});

test("the badge says how far the run is and what can be done", () => {
  assert.equal(badgeText(null), "durable · not run yet");
  assert.equal(badgeText(snapshot({ state: "interrupted" })), "1,882 / 3,000 ✓ resumable");
  assert.equal(badgeText(snapshot({ state: "failed", failed: 2 })), "1,882 / 3,000 · 2 failed ✓ resumable");
  assert.equal(badgeText(snapshot({ state: "failed", failed: 4, durable: 36, total: 40 })), "36 / 40 · 4 failed ✓ resumable");
  assert.equal(badgeText(snapshot({ state: "running" })), "1,882 / 3,000 · 62 %");
  assert.equal(badgeText(snapshot({ state: "running", paused: true })), "1,882 / 3,000 · 62 % · paused");
  assert.equal(badgeText(snapshot({ state: "done", durable: 3000 })), "✓ 3,000 / 3,000");
  assert.equal(badgeText(snapshot({ state: "running", total: null })), "1,882");
  assert.equal(badgeText(snapshot({ state: "queued" })), "1,882 / 3,000 · queued");
  assert.equal(badgeText(snapshot({ state: "interrupted", total: null })), "1,882 ✓ resumable");
});

test("a run that was cut off is resumed, one with failures tried again, one that is done left alone", () => {
  assert.equal(remedy(snapshot({ state: "interrupted" })), "Resume");
  assert.equal(remedy(snapshot({ state: "failed" })), "Retry");
  assert.equal(remedy(snapshot({ state: "done", durable: 2999, failed: 1 })), "Retry");
  assert.equal(remedy(snapshot({ state: "done", durable: 3000 })), null);
  assert.equal(remedy(snapshot({ state: "running" })), null);
});
