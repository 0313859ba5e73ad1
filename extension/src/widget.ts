/** The anywidget entry: a panel whose source is the model of `durable_nb/notebook/widget.py`. */

import type { Model } from "./comm";
import { commSource } from "./comm";
import { render as renderPanel } from "./panel/render";

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const view = new AbortController();
  renderPanel(el, commSource(model), view.signal);
  return () => view.abort();
}

export default { render };
