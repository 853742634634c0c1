// Numbers, times and sizes as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const twoDigits = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "numeric" });

export const NONE = "–";

export function count(n) { return n === undefined || n === null ? NONE : whole.format(n); }

// rate formats a number per second: small ones with digits.
export function rate(n) {
  if (n === undefined || n === null || Number.isNaN(n)) return NONE;
  if (n > 0 && n < 0.01) return "< 0.01";
  return (n < 1 ? twoDigits : n < 100 ? oneDigit : whole).format(n);
}

// bytes formats a number of bytes in binary units, as the command line does.
export function bytes(n) {
  if (n === undefined || n === null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${(i === 0 || n >= 100 ? whole : oneDigit).format(n)} ${units[i]}`;
}

// seconds formats a duration with its two largest units, such as "2 h 5 min".
export function seconds(s) {
  if (s === undefined || s === null) return NONE;
  if (s < 0) return `−${seconds(-s)}`;
  if (s < 10) return `${oneDigit.format(s)} s`;
  s = Math.round(s);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => s >= size);
  const [size, unit] = parts[first];
  const [size2, unit2] = parts[first + 1] ?? [0, ""];
  const rest = size2 ? Math.floor((s % size) / size2) : 0;
  return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${unit2}` : ""}`;
}

// latency formats seconds that are usually milliseconds.
export function latency(s) {
  if (s === undefined || s === null) return NONE;
  const ms = s * 1000;
  if (ms >= 1000) return `${twoDigits.format(s)} s`;
  return `${(ms < 10 ? twoDigits : ms < 100 ? oneDigit : whole).format(ms)} ms`;
}

export function clock(time) { return time ? clockFormat.format(new Date(time)) : NONE; }
export function day(time) { return time ? dayFormat.format(new Date(time)) : NONE; }

// when formats a time of day, with the date if that isn't today.
export function when(time) {
  if (!time) return NONE;
  const t = new Date(time);
  return t.toDateString() === new Date().toDateString() ? clock(t) : `${day(t)} ${clock(t)}`;
}

export function ago(time, now = Date.now()) {
  return time ? `${seconds(Math.max(0, Math.floor((now - new Date(time)) / 1000)))} ago` : NONE;
}

// plural returns "1 session" or "1,000 sessions".
export function plural(n, one, many = `${one}s`) { return `${count(n)} ${n === 1 ? one : many}`; }

// daysLeft formats the rest of a certificate's time.
export function daysLeft(days) {
  if (days < 0) return `expired ${plural(Math.ceil(-days), "day")} ago`;
  if (days < 2) return `${plural(Math.round(days * 24), "hour")} left`;
  return `${plural(Math.floor(days), "day")} left`;
}

// soon is the number of days before the end of a certificate from which it is marked.
export const soon = 14;
