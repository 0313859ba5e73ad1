/** What may change the look of a drawing from outside. */

/** Call back with the width of an element when it changes, with null when colours or device pixels may have. */
export function watch(element: HTMLElement, changed: (width: number | null) => void, signal: AbortSignal): void {
  const sizes = new ResizeObserver((entries) => changed(entries.at(-1)?.contentRect.width ?? null));
  sizes.observe(element);
  const themes = new MutationObserver(() => changed(null));
  const attributeFilter = ["data-jp-theme-name", "data-jp-theme-light", "data-vscode-theme-id", "class"];
  themes.observe(document.body, { attributes: true, attributeFilter });
  for (const query of ["(forced-colors: active)", "(prefers-color-scheme: dark)"]) {
    matchMedia(query).addEventListener("change", () => changed(null), { signal });
  }
  followRatio(() => changed(null), signal);
  signal.addEventListener("abort", () => {
    sizes.disconnect();
    themes.disconnect();
  });
}

/** A query only tells that the ratio is no longer the one it asks for. */
function followRatio(changed: () => void, signal: AbortSignal): void {
  const moved = () => {
    changed();
    followRatio(changed, signal);
  };
  matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener("change", moved, { once: true, signal });
}
