import assert from "node:assert/strict";
import { test } from "node:test";

import { grouped } from "../src/panel/grouping";

function failure(position: number, error: string) {
  return { position, label: `doc ${position}`, error, attempts: 1, traceback: "" };
}

test("failures stand below their error, the most frequent one first", () => {
  const failures = [failure(1, "TimeoutError"), failure(2, "RateLimitError"), failure(3, "TimeoutError")];
  const groups = [
    { error: "TimeoutError", count: 80 },
    { error: "RateLimitError", count: 1200 },
    { error: "KeyError", count: 20 },
  ];
  const { sections, rest } = grouped({ failures, groups, failed: 1310 });

  assert.deepEqual(sections.map(({ error, count }) => [error, count]), [["RateLimitError", 1200], ["TimeoutError", 80], ["KeyError", 20]]);
  assert.deepEqual(sections.map((section) => section.failures.map(({ position }) => position)), [[2], [1, 3], []]);
  assert.equal(rest, 10);
});

test("without groups the failures that are named make them", () => {
  const { sections, rest } = grouped({ failures: [failure(1, "A"), failure(2, "A")], groups: [], failed: 5 });
  assert.deepEqual(sections.map(({ error, count }) => [error, count]), [["A", 2]]);
  assert.equal(rest, 3);
});

test("a count that lags behind the list does not contradict it", () => {
  const { sections, rest } = grouped({ failures: [failure(1, "A"), failure(2, "A")], groups: [{ error: "A", count: 1 }], failed: 1 });
  assert.equal(sections[0]!.count, 2);
  assert.equal(rest, 0);
});
