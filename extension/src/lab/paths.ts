/** Notebooks as the database names them, and as the page does; pure. */

/**
 * A notebook's path below the server's root, or "" when it does not lie there.
 *
 * Kernels note absolute paths. Lab tells its root with the home folder written `~`, which only the server can resolve;
 * what follows it is looked for in the path.
 */
export function belowRoot(notebook: string, root: string): string {
  if (!notebook.startsWith("/")) return notebook;
  const trimmed = root.replace(/\/+$/, "");
  if (!trimmed.startsWith("~")) return notebook.startsWith(`${trimmed}/`) ? notebook.slice(trimmed.length + 1) : "";
  const rest = trimmed.slice(1);
  if (!rest) return /^\/(?:root|(?:home|Users)\/[^/]+)\/(.+)$/.exec(notebook)?.[1] ?? "";
  const at = notebook.indexOf(`${rest}/`);
  return at < 0 ? "" : notebook.slice(at + rest.length + 1);
}

export function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** `5 min ago`, for lists. */
export function ago(seconds: number): string {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}
