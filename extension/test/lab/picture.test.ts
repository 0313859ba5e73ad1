import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { pictureHtml, pictureText } from "../../src/lab/picture";
import { parse } from "../../src/panel/snapshot";

const fixture = parse(JSON.parse(readFileSync("../tests/fixtures/snapshot.json", "utf8")));
const nasty = "<img src=x onerror=alert(1)>\"'&";

test("names and errors are text in the picture", () => {
  const failures = [{ position: 1, label: nasty, error: nasty, attempts: 3, traceback: "" }];
  const html = pictureHtml({ ...fixture, name: nasty, message: nasty, failures });
  assert.ok(!html.includes("<img"));
  assert.ok(html.includes("&#60;img src=x"));
});

test("the picture says what the panel says, and nothing of a sanitizer's black list", () => {
  const html = pictureHtml({ ...fixture, state: "done" });
  for (const part of ["4,000 / 10,000", "<progress", "done", "failed documents"]) assert.ok(html.includes(part), part);
  assert.ok(!/<(style|svg|script)|\son\w+=/.test(html));
  assert.match(pictureText({ ...fixture, state: "done" }), /: done {2}4,000 \/ 10,000 \(40%\)/);
});

test("a run without a total has no bar", () => {
  assert.ok(!pictureHtml({ ...fixture, total: null }).includes("<progress"));
});
