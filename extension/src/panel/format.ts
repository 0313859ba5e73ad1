/** Counts, rates and lengths of time as text; the same rules as `durable_nb/notebook/display.py`. */

/** `12,345`, in every locale, so that the page agrees with the text in the notebook. */
export function count(n: number): string {
  return String(Math.trunc(n)).replace(/\B(?=(\d{3})+$)/g, ",");
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

/** Documents per second, or per minute when that is the readable number; "" for none. */
export function speed(rate: number): string {
  if (rate >= 9.95) return `${count(rate + 0.5)}/s`;
  if (rate >= 0.95) return `${rate.toFixed(1)}/s`;
  return rate * 60 >= 0.05 ? `${(rate * 60).toFixed(1)}/min` : "";
}

function pair(many: number, unit: string, few: number, smaller: string): string {
  return few ? `${many} ${unit} ${few} ${smaller}` : `${many} ${unit}`;
}
