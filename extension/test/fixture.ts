import { readFileSync } from "node:fs";

import type { Snapshot } from "../src/panel/snapshot";
import { parse } from "../src/panel/snapshot";

/** Written by a Python test; npm runs tests in the folder of package.json. */
export const fixture = JSON.parse(readFileSync("../tests/fixtures/snapshot.json", "utf8")) as Record<string, unknown>;

/** What Python writes, with changes. */
export function snapshot(changes: Partial<Snapshot> = {}): Snapshot {
  return { ...parse(fixture), ...changes };
}
