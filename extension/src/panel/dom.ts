/** The little of the DOM that the views share. Everything becomes text nodes: nothing here reads HTML. */

/** A new element with a class and children. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = "",
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Text nodes are only touched when they change: screen readers and selections notice every write. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for attributes; null removes it. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A push button. */
export function button(label: string, className = "dnb-button"): HTMLButtonElement {
  const made = make("button", className, label);
  made.type = "button";
  return made;
}

/** Text of others: its direction ends with it, and it cannot be taken for ours. */
export function foreign(text: string, className = ""): HTMLElement {
  return make("bdi", className, text);
}

/** A heading or a cell of a table. */
export function th(scope: "col" | "row" | "rowgroup", className: string, ...children: (Node | string)[]): HTMLTableCellElement {
  const made = make("th", className, ...children);
  made.scope = scope;
  return made;
}

/** A table with a caption for those who do not see where it stands. */
export function table(className: string, caption: string, headings: readonly string[], ...bodies: Node[]): HTMLTableElement {
  const row = make("tr", "", ...headings.map((heading) => th("col", "", heading)));
  return make("table", className, make("caption", "dnb-hidden", caption), make("thead", "", row), ...bodies);
}

/** Call `draw` only when a field says something else than the last time; what is the very same is not looked into. */
export function whenNews<Value extends object>(draw: (value: Value) => void): (value: Value) => void {
  let last: Partial<Value> = {};
  const said = new Map<keyof Value, string>();
  return (value) => {
    let news = false;
    for (const field of Object.keys(value) as (keyof Value)[]) {
      if (last[field] === value[field]) continue;
      const says = JSON.stringify(value[field]);
      news ||= said.get(field) !== says;
      said.set(field, says);
    }
    last = value;
    if (news) draw(value);
  };
}
