// The built panel with a model that the test plays: what a kernel would send is set, what the page sends is kept.
import panel from "/static/panel.js";

class Model {
  #traits;
  #callbacks = new Map();
  #status = new Set();
  sent = [];
  /** Called with what the page sends, at once. */
  answer = () => {};
  widget_manager = {
    kernel: { statusChanged: { connect: (slot) => this.#status.add(slot), disconnect: (slot) => this.#status.delete(slot) } },
  };

  constructor(traits) {
    this.#traits = { actions: [], failures: [], context: {}, sent_at: Date.now() / 1000, ...traits };
  }
  get(trait) {
    return this.#traits[trait];
  }
  set(traits) {
    Object.assign(this.#traits, { sent_at: Date.now() / 1000, ...traits });
    this.#call("change:sent_at");
  }
  send(content) {
    this.sent.push(content);
    this.answer(content);
  }
  on(event, callback) {
    this.#callbacks.set(event, [...(this.#callbacks.get(event) ?? []), callback]);
  }
  off(event, callback) {
    this.#callbacks.set(event, this.#callbacks.get(event).filter((other) => other !== callback));
  }
  message(content, buffers = []) {
    this.#call("msg:custom", content, buffers.map((buffer) => new DataView(buffer)));
  }
  kernel(status) {
    for (const slot of this.#status) slot(this.widget_manager.kernel, status);
  }
  /** How many callbacks are left in the hands of others. */
  get held() {
    return [...this.#callbacks.values()].flat().length + this.#status.size;
  }
  #call(event, ...args) {
    for (const callback of this.#callbacks.get(event) ?? []) callback(...args);
  }
}

/** The wire format of durable_nb/wire.py, written a second time on purpose. */
export function full(version, states) {
  const bytes = new Uint8Array(9 + states.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(1, version, true);
  view.setUint32(5, states.length, true);
  bytes.set(states, 9);
  return bytes.buffer;
}

export function delta(version, changes) {
  const view = new DataView(new ArrayBuffer(9 + 5 * changes.length));
  view.setUint8(0, 1);
  view.setUint32(1, version, true);
  view.setUint32(5, changes.length, true);
  changes.forEach(([position, state], index) => {
    view.setUint32(9 + 4 * index, position, true);
    view.setUint8(9 + 4 * changes.length + index, state);
  });
  return view.buffer;
}

/** `restored` first, then `computed`, with `failed` among them at even distances; the rest waits. */
export function states({ total, restored, computed, failed }) {
  const all = new Uint8Array(total).fill(1, 0, restored).fill(2, restored, restored + computed + failed);
  const step = (restored + computed + failed) / Math.max(failed, 1);
  for (let index = 0; index < failed; index += 1) all[Math.floor((index + 0.5) * step)] = 3;
  return all;
}

let close = () => {};

window.panel = {
  full,
  delta,
  states,
  model: null,
  /** Show a run; what was shown before is closed. */
  open(traits, answer) {
    close();
    const output = document.getElementById("output");
    output.replaceChildren();
    this.model = new Model(traits);
    if (answer) this.model.answer = answer;
    const el = document.createElement("div"); // as anywidget does: drawn first, attached afterwards
    close = panel.render({ model: this.model, el });
    output.append(el);
  },
  close: () => close(),
  /** Open a run whose kernel answers for its mosaic and its documents. */
  openRun(traits, counts = traits.figures) {
    let all = states({ ...counts, total: counts.total ?? counts.restored + counts.computed + counts.failed });
    this.version = 1;
    this.open({ ...traits, figures: { ...traits.figures, mosaic_version: 1 } }, (content) => {
      if ("mosaic" in content) {
        queueMicrotask(() => this.model.message({ mosaic: this.version, since: 0 }, [full(this.version, all)]));
      }
      if ("document" in content) {
        const position = content.document;
        const state = ["waiting", "restored", "computed", "failed"][all[position]];
        const error = state === "failed" ? "RateLimitError: 429 Too Many Requests\nTraceback: line 3" : "";
        const found = { position, label: `10-K/${position}.txt`, state, seconds: 0.42, attempts: error ? 3 : 1, error };
        queueMicrotask(() => this.model.message({ document: position, found }));
      }
    });
    return all;
  },
  async theme(name) {
    const link = document.getElementById("theme");
    if (link.getAttribute("href") !== `/theme/${name}.css`) {
      const loaded = new Promise((resolve) => link.addEventListener("load", resolve, { once: true }));
      link.setAttribute("href", `/theme/${name}.css`);
      await loaded;
    }
    document.body.dataset.jpThemeName = name;
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  },
  /** The colour of the mosaic at a place in CSS px. */
  pixel(x, y) {
    const { canvas, context } = this.copied();
    const ratio = canvas.width / document.querySelector(".dnb-canvas").clientWidth;
    return [...context.getImageData(Math.floor(x * ratio), Math.floor(y * ratio), 1, 1).data];
  },
  /** A copy of the mosaic: reading the canvas itself would change how the browser keeps it. */
  copied() {
    const mosaic = document.querySelector(".dnb-canvas");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [mosaic.width, mosaic.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(mosaic, 0, 0);
    return { canvas, context };
  },
};
window.ready = true;
