import assert from "node:assert/strict";
import { test } from "node:test";

import { cut, isolated, line, plain } from "../src/panel/text";

test("terminal escapes are left out, and other controls are shown", () => {
  assert.equal(plain("\u001b[1;31mRateLimitError\u001b[0m: 429"), "RateLimitError: 429");
  assert.equal(plain("\u009b31mred \u001b]8;;http://evil\u0007link\u001b]8;;\u0007"), "red link");
  assert.equal(plain("a\u0000b\u007fc\u0085d"), "a␀b␡c\ufffdd");
  assert.equal(plain("one\r\ntwo\rthree\tfour"), "one\ntwo\nthree\tfour");
});

test("an escape that never ends takes no text with it", () => {
  assert.equal(plain("\u001b]8;;still here"), "8;;still here");
  assert.equal(plain("\u001b"), "␛");
});

test("HTML is text like any other", () => {
  assert.equal(line("<img src=x onerror=alert(1)>"), "<img src=x onerror=alert(1)>");
});

test("one line stays one line of bounded length, without half a character", () => {
  assert.equal(line("two\n  lines "), "two lines");
  assert.equal(line("x".repeat(1000), 10), "xxxxxxxxx…");
  assert.equal(cut("ab😀d", 4), "ab…");
  assert.equal(cut("abcd", 4), "abcd");
  assert.ok(line("\u001b[31m".repeat(1_000_000)).length <= 200);
});

test("the direction of a text ends with it", () => {
  assert.equal(isolated("\u202eevil"), "\u2068\u202eevil\u2069");
});
