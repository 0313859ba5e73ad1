import assert from "node:assert/strict";
import { test } from "node:test";

import { answer, asked, checkedLimit, isOver, PATIENCE_MS } from "../src/panel/requests";
import { snapshot } from "./fixture";

test("a click is answered at once, and after 1.5 s with what it waits for", () => {
  const click = asked("resume", "", snapshot(), 0);
  assert.equal(answer(click, 0), "Resume requested.");
  assert.equal(answer(click, PATIENCE_MS), "Resume requested; applies when the kernel is free.");
  assert.match(answer(asked("resume", "", snapshot({ state: "interrupted" }), 0), PATIENCE_MS), /cells above run first/);
  assert.equal(answer(asked("forget", "", snapshot({ state: "done" }), 0), PATIENCE_MS), "Forget requested.");
  assert.match(answer(asked("stop", "", snapshot(), 0), PATIENCE_MS), /■/);
  assert.equal(answer({ ...click, stage: "taken" }, PATIENCE_MS), "Resuming.");
  assert.equal(answer({ ...click, stage: "refused", words: "The run is over." }, 0), "The run is over.");
});

test("a click is over when the snapshot shows what it asked for", () => {
  const over = (action: Parameters<typeof asked>[0], value: string, changes: object) =>
    isOver(asked(action, value, snapshot(), 0), snapshot(changes), 0);
  assert.equal(over("pause", "", {}), false);
  assert.equal(over("pause", "", { paused: true }), true);
  assert.equal(over("resume", "", { paused: true }), false);
  assert.equal(over("stop", "", { state: "interrupted" }), true);
  assert.equal(over("workers", "4", { limit_workers: 4 }), true);
  assert.equal(over("workers", "", { limit_workers: 4 }), false);
  assert.equal(over("rate", "90", { per_minute: 90 }), true);
  assert.equal(over("recompute", "1", {}), false);
});

test("what starts a run is over when another attempt has begun, however short it was", () => {
  const failed = snapshot({ state: "failed", attempts: 2 });
  for (const action of ["retry", "resume", "recompute"] as const) {
    const click = asked(action, "", failed, 0);
    assert.equal(isOver(click, failed, 0), false);
    assert.equal(isOver(click, snapshot({ state: "running", attempts: 2 }), 0), true);
    assert.equal(isOver(click, snapshot({ state: "done", attempts: 3 }), 0), true);
  }
});

test("an answer stays long enough to be read, and no longer", () => {
  const refused = { ...asked("pause", "", snapshot(), 0), stage: "refused" as const };
  assert.equal(isOver(refused, snapshot({ paused: true }), 1000), false);
  assert.equal(isOver(refused, snapshot(), 60_000), true);
  assert.equal(isOver({ ...asked("recompute", "1", snapshot(), 0), stage: "taken" }, snapshot(), 60_000), true);
});

test("a limit is a number the run can keep, or none", () => {
  assert.deepEqual(checkedLimit("workers", " 1,000 "), { value: "1000" });
  assert.deepEqual(checkedLimit("workers", ""), { value: "" });
  assert.deepEqual(checkedLimit("rate", "0.5"), { value: "0.5" });
  for (const typed of ["0", "-1", "1.5", "many", "1e3", "99999999999999999999"]) {
    assert.ok("wrong" in checkedLimit("workers", typed), typed);
  }
  for (const typed of ["0", "-1", "fast", "1e3", "Infinity"]) assert.ok("wrong" in checkedLimit("rate", typed), typed);
});
