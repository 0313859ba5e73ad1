import assert from "node:assert/strict";
import { test } from "node:test";

import { ago, belowRoot, fileName } from "../../src/lab/paths";

test("a notebook is found below the server's root, however Lab tells the root", () => {
  const paths: [string, string, string][] = [
    ["/srv/work/a/b.ipynb", "/srv/work", "a/b.ipynb"],
    ["/srv/work/a/b.ipynb", "/srv/work/", "a/b.ipynb"],
    ["/srv/workshop/b.ipynb", "/srv/work", ""],
    ["/home/me/work/b.ipynb", "~/work", "b.ipynb"],
    ["/home/me/b.ipynb", "~", "b.ipynb"],
    ["/root/a/b.ipynb", "~", "a/b.ipynb"],
    ["/elsewhere/b.ipynb", "~/work", ""],
    ["a/b.ipynb", "/srv/work", "a/b.ipynb"],
    ["", "/srv/work", ""],
  ];
  for (const [notebook, root, expected] of paths) assert.equal(belowRoot(notebook, root), expected, `${notebook} in ${root}`);
});

test("names and ages are short", () => {
  assert.equal(fileName("a/b.ipynb"), "b.ipynb");
  assert.deepEqual([5, 90, 7300, 200_000].map(ago), ["just now", "1 min ago", "2 h ago", "2 d ago"]);
});
