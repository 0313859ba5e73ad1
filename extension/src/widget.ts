/** The anywidget entry: a panel whose source is the comm model of `durable_nb/notebook/widget.py`. */

import { render as renderPanel } from "./panel/render";
import { parse } from "./panel/snapshot";
import type { Action, Source } from "./panel/source";

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
interface Model {
  readonly widget_manager?: { readonly kernel?: Kernel | null };
  get(trait: string): unknown;
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

/** After any of these the process that computed is no more, even if another one answers under the same id. */
const ENDINGS = ["restarting", "autorestarting", "terminating", "dead"];

function source(model: Model): Source {
  let ended = false;
  return {
    snapshot: () => parse({ ...(model.get("figures") as object), failures: model.get("failures") }),
    actions: () => model.get("actions") as Action[],
    sentAt: () => 1000 * (model.get("sent_at") as number),
    connected: () => !ended,
    request: (action) => model.send({ action }),
    listen(listener, signal) {
      const onTaken = (content: { ack?: Action }) => {
        if (content.ack !== undefined) listener.onTaken(content.ack);
      };
      const onNews = () => {
        ended = false;
        listener.onNews();
      };
      const onStatus = (_kernel: Kernel, status: string) => {
        if (!ENDINGS.includes(status)) return;
        ended = true;
        listener.onConnection();
      };
      const events: [string, (...args: never[]) => void][] = [
        ["change:sent_at", onNews],
        ["msg:custom", onTaken],
      ];
      for (const [event, callback] of events) model.on(event, callback);
      // The model is told nothing when the kernel is killed. Without this, 15 s of silence tell it, as they do elsewhere.
      const status = model.widget_manager?.kernel?.statusChanged;
      status?.connect(onStatus);
      signal.addEventListener("abort", () => {
        status?.disconnect(onStatus);
        for (const [event, callback] of events) model.off(event, callback);
      });
    },
  };
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const view = new AbortController();
  renderPanel(el, source(model), view.signal);
  return () => view.abort();
}

export default { render };
