import assert from "node:assert/strict";
import { test } from "node:test";

import { isEnd, parse, parseContext, parseDocument } from "../src/panel/snapshot";
import { fixture, snapshot } from "./fixture";

const OLD = ["name", "state", "total", "restored", "computed", "failed", "running", "rate", "eta_s", "elapsed_s", "saved_s"];
const OLD_TOO = ["commit_age_s", "failures", "message", "durable"];

test("what Python writes keeps the contract", () => {
  const read = snapshot();
  assert.equal(read.durable, read.restored + read.computed);
  assert.equal(read.state, "running");
  assert.equal(read.failures.length, 2);
});

test("every field that any kernel sends is asked for", () => {
  for (const field of [...OLD, ...OLD_TOO]) {
    const { [field]: _gone, ...rest } = fixture;
    assert.throws(() => parse(rest), new RegExp(field));
  }
});

test("a kernel with an older durable_nb is understood", () => {
  const old = Object.fromEntries([...OLD, ...OLD_TOO].map((field) => [field, fixture[field]]));
  const read = parse(old);
  assert.equal(read.paused, false);
  assert.equal(read.heartbeat_age_s, null);
  assert.equal(read.mosaic_version, 0);
  assert.deepEqual(read.groups, []);
  assert.deepEqual(parseContext(undefined), { history: [], versions: [] });
});

test("a field of another kind is refused by name", () => {
  assert.throws(() => parse({ ...fixture, rate: "fast" }), /snapshot\.rate is not a number/);
  assert.throws(() => parse({ ...fixture, paused: 1 }), /snapshot\.paused is not a flag/);
  assert.throws(() => parse({ ...fixture, failures: [{ label: "a" }] }), /failures\[0\]\.position/);
  assert.throws(() => parse({ ...fixture, groups: [{ error: "a" }] }), /groups\[0\]\.count/);
  assert.throws(() => parse({ ...fixture, state: 3 }), /snapshot\.state is not a text/);
  assert.throws(() => parse(null), /snapshot is not an object/);
  assert.throws(() => parseContext({ history: [{ at: "noon" }] }), /history\[0\]\.at is not a number/);
  assert.throws(() => parseContext({ versions: {} }), /versions is not a list/);
});

test("a state that only a newer durable_nb knows is kept as its word", () => {
  const read = parse({ ...fixture, state: "queued" });
  assert.equal(read.state, "queued");
  assert.deepEqual(["running", "queued", "interrupted", "done"].map(isEnd), [false, false, true, true]);
});

test("a document without error or time is one that waits", () => {
  const waiting = { position: 3, label: "c", state: "waiting", error: null };
  assert.deepEqual(parseDocument(waiting), { ...waiting, seconds: null, attempts: 0, error: "" });
  assert.equal(parseDocument(null), null);
  assert.throws(() => parseDocument({ position: 3 }), /document\.label/);
});
