/** Words of others (labels, errors, tracebacks), made fit to be read. They only ever become text nodes. */

// Terminal colours and links (ECMA-48 CSI and OSC, with 7 and 8 bit introducers), then any other escape.
const ESCAPES = /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b\]|\u009d)[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)|\u001b[@-_]/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Without terminal escapes; other control characters are shown (␀) rather than passed on. */
export function plain(text: string): string {
  return text.replace(ESCAPES, "").replace(/\r\n?/g, "\n").replace(CONTROLS, picture);
}

/** The same on one line, and no longer than `limit`. */
export function line(text: string, limit = 200): string {
  // Cut first: a label may be a whole document. Twice the limit leaves enough when much of it is escapes.
  return cut(plain(cut(text, 2 * limit)).replace(/\s+/g, " ").trim(), limit);
}

/** At most `limit` characters; what is missing is marked. */
export function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const kept = text.slice(0, limit - 1);
  return `${/[\ud800-\udbff]$/.test(kept) ? kept.slice(0, -1) : kept}…`; // never half a character
}

/** For attributes, where no element can keep the direction of a text apart: first strong isolate, and its end. */
export function isolated(text: string): string {
  return `\u2068${text}\u2069`;
}

function picture(control: string): string {
  const code = control.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : "\ufffd";
}
