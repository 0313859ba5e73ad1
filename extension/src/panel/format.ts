/** Counts, rates and times as text; the same rules as `durable_nb/notebook/display.py`. */

/** For a figure that is not known, or not now. */
export const NONE = "–";

/** `12,345`, in every locale, so that the page agrees with the text in the notebook. */
export function count(n: number): string {
  return String(Math.trunc(n)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 document`, `2 documents`. */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** At most two units: `0.4 s`, `19 s`, `3 min 20 s`, `34 min`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 0.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.floor(seconds + 0.5);
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? pair(hours, "h", minutes % 60, "min") : pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** `now`, `3 s ago`; without tenths, which would flicker. */
export function ago(seconds: number): string {
  return seconds < 1 ? "now" : `${duration(seconds)} ago`;
}

/** Documents per second, or per minute when that is the readable number; "" for none. */
export function speed(rate: number): string {
  if (rate >= 9.95) return `${count(rate + 0.5)}/s`;
  if (rate >= 0.95) return `${rate.toFixed(1)}/s`;
  return rate * 60 >= 0.05 ? `${(rate * 60).toFixed(1)}/min` : "";
}

/** What something costs, in a unit that only the user knows: as many digits as matter. */
export function amount(cost: number): string {
  if (cost >= 100) return count(cost + 0.5);
  return cost >= 1 ? cost.toFixed(2) : String(Number(cost.toPrecision(2)));
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `14:02:11` on the day of `now`, `23 Nov, 14:02` on another day; both in seconds since the epoch, local time. */
export function moment(at: number, now: number): string {
  const then = new Date(1000 * at);
  const time = `${two(then.getHours())}:${two(then.getMinutes())}`;
  if (then.toDateString() === new Date(1000 * now).toDateString()) return `${time}:${two(then.getSeconds())}`;
  return `${then.getDate()} ${MONTHS[then.getMonth()]}, ${time}`;
}

function pair(many: number, unit: string, few: number, smaller: string): string {
  return few ? `${many} ${unit} ${few} ${smaller}` : `${many} ${unit}`;
}

function two(n: number): string {
  return String(n).padStart(2, "0");
}
