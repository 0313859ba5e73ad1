import assert from "node:assert/strict";
import { test } from "node:test";

import type { Model } from "../src/comm";
import { commSource } from "../src/comm";
import { fixture } from "./fixture";

/** A model as a front end hands it out, and what passes through it. */
function opened() {
  const { failures, ...figures } = fixture;
  const traits: Record<string, unknown> = { figures, failures, actions: ["stop"], sent_at: 12 };
  const callbacks = new Map<string, (...args: never[]) => void>();
  const slots = new Set<unknown>();
  const sent: unknown[] = [];
  const model: Model = {
    widget_manager: { kernel: { statusChanged: { connect: (slot) => !!slots.add(slot), disconnect: (slot) => slots.delete(slot) } } },
    get: (trait) => traits[trait],
    send: (content) => void sent.push(content),
    on: (event, callback) => void callbacks.set(event, callback),
    off: (event) => void callbacks.delete(event),
  };
  const source = commSource(model);
  const heard: string[] = [];
  const view = new AbortController();
  const listener = {
    onNews: () => heard.push("news"),
    onTaken: (action: string) => heard.push(`taken ${action}`),
    onConnection: () => heard.push("connection"),
  };
  source.listen(listener, view.signal);
  const message = (content: object, bytes?: number) =>
    callbacks.get("msg:custom")!(...([content, bytes === undefined ? [] : [new DataView(new ArrayBuffer(bytes))]] as never[]));
  return { source, sent, heard, message, view, held: () => callbacks.size + slots.size };
}

test("a kernel with an older durable_nb has figures, and neither history nor mosaic", async () => {
  const { source, sent } = opened();
  assert.equal(source.snapshot().name, "embed-filings");
  assert.deepEqual(source.context(), { history: [], versions: [] });
  assert.equal(source.sentAt(), 12_000);
  assert.equal(await source.mosaic!(0), null);
  assert.equal(await source.mosaic!(0), null);
  assert.deepEqual(sent, [{ mosaic: 0 }]); // once in 2 s
});

test("mosaics are handed out in order, and one that misses its forerunner is not", async () => {
  const { source, sent, heard, message } = opened();
  message({ mosaic: 3, since: 0 }, 10);
  message({ mosaic: 4, since: 3 }, 11);
  assert.deepEqual(heard, ["news", "news"]);
  assert.equal((await source.mosaic!(0))!.byteLength, 10);
  assert.equal((await source.mosaic!(3))!.byteLength, 11);

  message({ mosaic: 6, since: 5 }, 12);
  assert.equal(await source.mosaic!(4), null);
  assert.deepEqual(sent, [{ mosaic: 4 }]);
  message({ mosaic: 6 }); // nothing changed
  assert.equal(await source.mosaic!(4), null);
});

test("a whole mosaic makes those before it needless", async () => {
  const { source, message } = opened();
  message({ mosaic: 4, since: 3 }, 11);
  message({ mosaic: 9, since: 0 }, 12);
  assert.equal((await source.mosaic!(0))!.byteLength, 12);
});

test("a click is taken or refused with the words of the kernel", async () => {
  const { source, sent, heard, message } = opened();
  const taken = source.request("workers", "4");
  message({ ack: "workers" });
  await taken;
  const refused = source.request("stop");
  message({ ack: "stop", error: "The run is over." });
  await assert.rejects(async () => refused, /The run is over/);
  assert.deepEqual(sent, [{ action: "workers", value: "4" }, { action: "stop", value: "" }]);
  assert.deepEqual(heard, ["taken workers"]);
});

test("a document is named by the answer to its question", async () => {
  const { source, message } = opened();
  const found = { position: 3, label: "c.txt", state: "done", seconds: 1, attempts: 1, error: "" };
  const [three, four] = [source.document!(3), source.document!(4)];
  message({ document: 4, found: null });
  message({ document: 3, found });
  assert.deepEqual(await three, found);
  assert.equal(await four, null);
});

test("a view that closes takes its callbacks with it", () => {
  const { view, held } = opened();
  assert.equal(held(), 3);
  view.abort();
  assert.equal(held(), 0);
});
