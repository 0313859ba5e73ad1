import assert from "node:assert/strict";
import { test } from "node:test";

import * as figures from "../src/panel/figures";
import { snapshot } from "./fixture";

const { headline, liveness, mark, MISSED_AFTER_S, percentage, remark, SHARES, shares, SILENT_AFTER_MS, spoken, times } = figures;

test("100 % means all", () => {
  assert.equal(percentage(snapshot({ total: 10_000, durable: 9_999 })), 99);
  assert.equal(percentage(snapshot({ total: 0, durable: 0 })), 100);
  assert.equal(percentage(snapshot({ total: 5, durable: 7 })), 100);
  assert.equal(percentage(snapshot({ total: null })), null);
});

test("the headline tells how far the run is, with or without a total", () => {
  assert.equal(headline(snapshot()), "4,000 / 10,000");
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

test("a running state is only believed while news and heartbeats arrive", () => {
  const fresh = { heartbeat_age_s: 0 };
  assert.equal(liveness(snapshot(fresh), null, SILENT_AFTER_MS), "live");
  assert.equal(liveness(snapshot(fresh), null, SILENT_AFTER_MS + 1), "silent");
  assert.equal(liveness(snapshot({ heartbeat_age_s: MISSED_AFTER_S + 1 }), null, 0), "silent");
  assert.equal(liveness(snapshot({ heartbeat_age_s: null }), null, 0), "live");
  assert.equal(liveness(snapshot(fresh), "kernel", 0), "gone");
  assert.equal(liveness(snapshot(fresh), "server", 0), "cut");
  assert.equal(liveness(snapshot({ state: "done" }), null, 1e9), "over");
  assert.equal(liveness(snapshot({ state: "failed" }), "kernel", 0), "gone");
});

test("the chip says what is going on, not what was asked for", () => {
  const word = (changes: object, life: figures.Liveness) => mark(snapshot(changes), life).word;
  assert.equal(word({}, "live"), "running");
  assert.equal(word({ paused: true, running: 3 }, "live"), "pausing");
  assert.equal(word({ paused: true, running: 0 }, "live"), "paused");
  assert.equal(word({ paused: true, running: 0 }, "silent"), "no news");
  assert.equal(word({}, "gone"), "kernel gone");
  assert.equal(word({}, "cut"), "no connection");
  assert.equal(word({ state: "done", paused: true }, "over"), "done");
});

test("a state that is not known is shown as text, whatever it says", () => {
  assert.deepEqual(mark(snapshot({ state: "queued" }), "over"), { look: "other", word: "queued" });
  assert.equal(mark(snapshot({ state: `\u001b[31m${"long ".repeat(50)}` }), "over").word.length, 40);
});

test("time goes on between two messages, except in a kernel that is gone", () => {
  const value = (name: string, changes: object, life: figures.Liveness) =>
    times(snapshot({ eta_s: 19, elapsed_s: 9, commit_age_s: 0, ...changes }), life, 5000).find((figure) => figure.name === name)?.value;
  assert.equal(value("time left", {}, "live"), "14 s");
  assert.equal(value("elapsed", {}, "live"), "14 s");
  assert.equal(value("last commit", {}, "live"), "5 s ago");
  assert.equal(value("elapsed", {}, "gone"), "9 s");
  assert.equal(value("time left", { paused: true }, "live"), "–");
  assert.equal(value("time left", { state: "done" }, "over"), undefined);
});

test("the remark names the trouble before anything else", () => {
  const waiting = { waiting_for: "the rate limit", message: "as told", heartbeat_age_s: null };
  assert.match(remark(snapshot(waiting), "silent", 16_000), /^Last news 16 s ago/);
  assert.match(remark(snapshot(waiting), "gone", 0), /Run the cell again/);
  assert.match(remark(snapshot(waiting), "cut", 0), /^The server does not answer/);
  assert.equal(remark(snapshot(waiting), "live", 0), "Waiting for the rate limit");
  assert.equal(remark(snapshot({ ...waiting, state: "done" }), "over", 0), "as told");
});
