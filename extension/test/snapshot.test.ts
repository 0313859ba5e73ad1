import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import type { Snapshot } from "../src/panel/snapshot";
import { headline, liveness, parse, percentage, SHARES, shares, SILENT_AFTER_MS, spoken } from "../src/panel/snapshot";

// Written by tests/notebook/test_display.py; npm runs tests in the folder of package.json.
const fixture: unknown = JSON.parse(readFileSync("../tests/fixtures/snapshot.json", "utf8"));

function snapshot(changes: Partial<Snapshot> = {}): Snapshot {
  return { ...parse(fixture), ...changes };
}

test("what Python writes keeps the contract", () => {
  const read = snapshot();
  assert.equal(read.durable, read.restored + read.computed);
  assert.equal(read.state, "running");
  assert.equal(read.failures.length, 2);
});

test("every field of the contract is asked for", () => {
  for (const field of Object.keys(fixture as object)) {
    const { [field]: _gone, ...rest } = fixture as Record<string, unknown>;
    assert.throws(() => parse(rest), new RegExp(field));
  }
});

test("a field of another kind is refused by name", () => {
  assert.throws(() => parse({ ...(fixture as object), rate: "fast" }), /snapshot\.rate is not a number/);
  assert.throws(() => parse({ ...(fixture as object), failures: [{ label: "a" }] }), /failures\[0\]\.position/);
  assert.throws(() => parse({ ...(fixture as object), state: "paused" }), /state is paused/);
  assert.throws(() => parse(null), /snapshot is not an object/);
});

test("100 % means all", () => {
  assert.equal(percentage(snapshot({ total: 10_000, durable: 9_999 })), 99);
  assert.equal(percentage(snapshot({ total: 0, durable: 0 })), 100);
  assert.equal(percentage(snapshot({ total: 5, durable: 7 })), 100);
  assert.equal(percentage(snapshot({ total: null })), null);
});

test("the headline tells how far the run is, with or without a total", () => {
  assert.equal(headline(snapshot()), "4,000 / 10,000 · 40 %");
  assert.equal(headline(snapshot({ total: null })), "4,000 durable");
  assert.equal(spoken(snapshot()), "4,000 of 10,000 durable, 2 failed");
});

test("the bar never overflows, whatever the counts say", () => {
  for (const total of [null, 0, 100, 10_000]) {
    const widths = shares(snapshot({ total }));
    const sum = SHARES.reduce((all, kind) => all + widths[kind], 0);
    assert.ok(sum <= 100 + 1e-9, `${sum} % for a total of ${total}`);
  }
  assert.equal(shares(snapshot()).computed, 28);
});

test("calls that were running are not drawn once the run is over", () => {
  assert.equal(shares(snapshot({ state: "interrupted" })).running, 0);
});

test("a running state is only believed while news arrive", () => {
  assert.equal(liveness("running", true, SILENT_AFTER_MS), "live");
  assert.equal(liveness("running", true, SILENT_AFTER_MS + 1), "silent");
  assert.equal(liveness("running", false, 0), "gone");
  assert.equal(liveness("done", true, 1e9), "over");
  assert.equal(liveness("failed", false, 0), "gone");
});
