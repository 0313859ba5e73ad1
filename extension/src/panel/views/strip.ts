/** A line of disclosure buttons; what they open stands below it, so that the line itself never moves. */

import { button, make, setAttribute, setText } from "../dom";

let made = 0;

export interface Section {
  readonly body: HTMLElement;
  /** What the button says; null while there is nothing to open. */
  title(text: string | null): void;
}

export function stripView(signal: AbortSignal) {
  const line = make("div", "dnb-strip");
  const bodies = make("div", "dnb-sections");
  // Two bundles may draw into one page (the widget's and the lab's), so that a plain number is not unique.
  const page = `dnb-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;

  const add = (className: string): Section => {
    made += 1;
    const body = make("div", `dnb-section ${className}`);
    body.id = `${page}-${made}`;
    const toggle = button("", "dnb-toggle");
    toggle.setAttribute("aria-controls", body.id);
    let open = false;
    let available = false;
    const draw = () => {
      toggle.hidden = !available;
      body.hidden = !available || !open;
      line.hidden = [...line.children].every((child) => (child as HTMLElement).hidden);
      setAttribute(toggle, "aria-expanded", String(open));
    };
    toggle.addEventListener(
      "click",
      () => {
        open = !open;
        draw();
      },
      { signal },
    );
    line.append(toggle);
    bodies.append(body);
    draw();
    return {
      body,
      title(text) {
        available = text !== null;
        if (text !== null) setText(toggle, text);
        draw();
      },
    };
  };
  return { roots: [line, bodies] as const, add };
}
