/** The source of a panel that is fed by the comm of an anywidget, the model of `durable_nb/notebook/widget.py`. */

import { parse, parseContext, parseDocument } from "./panel/snapshot";
import type { RunDocument } from "./panel/snapshot";
import type { Action, Listener, Source } from "./panel/source";

/** A signal of JupyterLab. */
interface Signal<Sender, Value> {
  connect(slot: (sender: Sender, value: Value) => void): boolean;
  disconnect(slot: (sender: Sender, value: Value) => void): boolean;
}

/** JupyterLab's connection to the kernel, which its widget manager holds; other front ends have none. */
interface Kernel {
  readonly statusChanged?: Signal<Kernel, string>;
}

/** The part of the anywidget model that is used. */
export interface Model {
  readonly widget_manager?: { readonly kernel?: Kernel | null };
  get(trait: string): unknown;
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

/** What the kernel sends besides its traits: answers, and the mosaic when it changed; see durable_nb/notebook/comm.py. */
interface Message {
  readonly ack?: Action;
  /** Why it could not be done. */
  readonly error?: string;
  /** Version of the mosaic in the buffer. */
  readonly mosaic?: number;
  /** The version that it applies to; 0: any, it is whole. */
  readonly since?: number;
  readonly document?: number;
  readonly found?: unknown;
}

interface Arrived {
  readonly since: number;
  readonly buffer: ArrayBuffer;
}

/** After any of these the process that computed is no more, even if another one answers under the same id. */
const ENDINGS = ["restarting", "autorestarting", "terminating", "dead"];
/** A kernel that does not answer is not asked for the mosaic more often. */
const ASK_AGAIN_MS = 2000;
/** A busy kernel may never say what a document is called. */
const GIVE_UP_MS = 5000;

export function commSource(model: Model): Source {
  let ended = false;
  let askedAt = -Infinity;
  let inbox: Arrived[] = [];
  const clicks = new Map<Action, Resolvable<void>>();
  const questions = new Map<number, (document: RunDocument | null) => void>();

  const take = ({ ack, error, mosaic, since = 0, document, found }: Message, buffer: DataView | undefined) => {
    if (ack !== undefined) {
      const click = clicks.get(ack);
      clicks.delete(ack);
      if (error === undefined) click?.resolve();
      else click?.reject(new Error(error));
    }
    if (document !== undefined) questions.get(document)?.(parseDocument(found ?? null));
    // What is whole makes everything before it needless, also for a view that nobody draws just now.
    if (mosaic !== undefined && buffer) inbox = [...(since > 0 ? inbox : []), { since, buffer: copied(buffer) }];
  };

  return {
    snapshot: () => parse({ ...(model.get("figures") as object), failures: model.get("failures") }),
    context: () => parseContext(model.get("context")),
    sentAt: () => 1000 * (model.get("sent_at") as number),
    connected: () => !ended,
    actions: () => model.get("actions") as Action[],

    request(action, value = "") {
      const click = withResolvers<void>();
      clicks.set(action, click);
      model.send({ action, value });
      return click.promise;
    },

    async mosaic(version) {
      for (let next = inbox.shift(); next; next = inbox.shift()) {
        if (next.since <= version) return next.buffer; // else one before it was missed
      }
      if (!ended && Date.now() - askedAt > ASK_AGAIN_MS) {
        askedAt = Date.now();
        model.send({ mosaic: version });
      }
      return null;
    },

    document(position) {
      const { promise, resolve } = withResolvers<RunDocument | null>();
      const patience = setTimeout(() => resolve(null), GIVE_UP_MS);
      questions.set(position, resolve);
      model.send({ document: position });
      return promise.finally(() => {
        clearTimeout(patience);
        questions.delete(position);
      });
    },

    listen(listener, signal) {
      listen(model, { listener, take, ended: (now) => (ended = now) }, signal);
    },
  };
}

interface Ears {
  readonly listener: Listener;
  readonly take: (message: Message, buffer: DataView | undefined) => void;
  readonly ended: (now: boolean) => void;
}

function listen(model: Model, { listener, take, ended }: Ears, signal: AbortSignal): void {
  const onNews = () => {
    ended(false);
    listener.onNews();
  };
  const onStatus = (_kernel: Kernel, status: string) => {
    if (!ENDINGS.includes(status)) return;
    ended(true);
    listener.onConnection();
  };
  const onMessage = (message: Message, buffers: readonly DataView[] = []) => {
    take(message, buffers[0]);
    if (message.ack !== undefined && message.error === undefined) listener.onTaken(message.ack);
    if (message.mosaic !== undefined && buffers[0]) listener.onNews();
  };
  const events: [string, (...args: never[]) => void][] = [
    ["change:sent_at", onNews],
    ["msg:custom", onMessage],
  ];
  for (const [event, callback] of events) model.on(event, callback);
  // The model is told nothing when the kernel is killed. Without this, 15 s of silence tell it, as they do elsewhere.
  const status = model.widget_manager?.kernel?.statusChanged;
  status?.connect(onStatus);
  signal.addEventListener("abort", () => {
    status?.disconnect(onStatus);
    for (const [event, callback] of events) model.off(event, callback);
  });
}

interface Resolvable<Value> {
  readonly promise: Promise<Value>;
  resolve(value: Value): void;
  reject(reason: Error): void;
}

/** `Promise.withResolvers`, which not every browser that runs a notebook has. */
function withResolvers<Value>(): Resolvable<Value> {
  let resolve!: (value: Value) => void;
  let reject!: (reason: Error) => void;
  const promise = new Promise<Value>((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
}

/** The bytes of a view, which may be a part of a larger message. */
function copied({ buffer, byteOffset, byteLength }: DataView): ArrayBuffer {
  return (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength);
}
