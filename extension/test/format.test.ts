import assert from "node:assert/strict";
import { test } from "node:test";

import { ago, amount, count, counted, duration, moment, speed } from "../src/panel/format";

// The same table as in tests/notebook/test_display.py: page and text say the same.
const DURATIONS: [number, string][] = [
  [-1, "0.0 s"],
  [0.44, "0.4 s"],
  [18.6, "19 s"],
  [59.6, "1 min"],
  [200, "3 min 20 s"],
  [2040, "34 min"],
  [7500, "2 h 5 min"],
  [7200, "2 h"],
  [180000, "2 d 2 h"],
];
const SPEEDS: [number, string][] = [
  [0, ""],
  [0.01, "0.6/min"],
  [0.5, "30.0/min"],
  [3.14, "3.1/s"],
  [9.96, "10/s"],
  [1234.5, "1,235/s"],
];

test("a length of time has at most two units", () => {
  for (const [seconds, text] of DURATIONS) assert.equal(duration(seconds), text);
});

test("a cost has as many digits as matter", () => {
  const costs: [number, string][] = [[0, "0"], [0.00123, "0.0012"], [0.456, "0.46"], [8.4, "8.40"], [1234.5, "1,235"]];
  for (const [cost, text] of costs) assert.equal(amount(cost), text);
});

test("a speed is given in the unit that reads well, and not at all when nothing moves", () => {
  for (const [rate, text] of SPEEDS) assert.equal(speed(rate), text);
});

test("counts are grouped in threes, whatever the locale", () => {
  assert.deepEqual([0, 999, 1000, 12345, 1234567].map(count), ["0", "999", "1,000", "12,345", "1,234,567"]);
});

test("one is not many", () => {
  assert.deepEqual([0, 1, 1200].map((n) => counted(n, "document")), ["0 documents", "1 document", "1,200 documents"]);
});

test("an age does not flicker", () => {
  assert.deepEqual([0, 0.99, 1, 61].map(ago), ["now", "now", "1 s ago", "1 min 1 s ago"]);
});

test("a moment of another day has its date", () => {
  const at = (day: number, hour: number) => new Date(2026, 10, day, hour, 2, 5).getTime() / 1000;
  assert.equal(moment(at(23, 14), at(23, 15)), "14:02:05");
  assert.equal(moment(at(22, 4), at(23, 15)), "22 Nov, 04:02");
});
