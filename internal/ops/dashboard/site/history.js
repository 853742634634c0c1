// What the charts show: a short history of the counts of all, of each pool and of each
// backend, by polling. The API has counts since the start; the history has rates.

const LENGTH = 15 * 60 * 1000; // ms that are kept
const MANY = 100; // series; with more of them, less is kept of each

// Names of series. A pool's name may contain anything but a slash is unlikely, so a key is
// JSON.
export const ALL = "";
export const poolKey = (pool) => JSON.stringify([pool]);
export const backendKey = (pool, backend) => JSON.stringify([pool, backend]);

// Series has the points of one key: {t, sessions, opened, failed, fromClient, fromBackend,
// closes}. All but sessions are per second; closes is an object by cause. A point whose
// rates are null begins after a gap.
class Series {
  points = [];
  #last = null;

  add(t, sessions, c, length) {
    const now = {
      t, opened: c.opened ?? 0, failed: c.failed ?? 0, closes: c.closes ?? {},
      fromClient: c.from_client?.messages ?? 0, fromBackend: c.from_backend?.messages ?? 0,
    };
    this.points.push({ t, sessions, ...rates(this.#last, now) });
    this.#last = now;
    while (this.points.length && t - this.points[0].t > length) this.points.shift();
  }

  pause() { this.#last = null; }
}

const FIELDS = ["opened", "failed", "fromClient", "fromBackend"];

function rates(before, now) {
  const seconds = before ? (now.t - before.t) / 1000 : 0;
  // Counts that fall are those of another process.
  if (seconds <= 0 || FIELDS.some((f) => now[f] < before[f])) {
    return { opened: null, failed: null, fromClient: null, fromBackend: null, closes: null };
  }
  const r = { closes: {} };
  for (const f of FIELDS) r[f] = (now[f] - before[f]) / seconds;
  for (const [cause, n] of Object.entries(now.closes)) {
    const d = n - (before.closes[cause] ?? 0);
    if (d > 0) r.closes[cause] = d / seconds;
  }
  return r;
}

export class History {
  #series = new Map();

  // add takes a status that came at time t.
  add(t, status) {
    const seen = new Set();
    const length = LENGTH / Math.max(1, this.#series.size / MANY);
    const put = (key, sessions, counts) => {
      seen.add(key);
      if (!this.#series.has(key)) this.#series.set(key, new Series());
      this.#series.get(key).add(t, sessions, counts, length);
    };
    put(ALL, status.totals.active, sum(status.pools));
    for (const p of status.pools) {
      put(poolKey(p.name), p.sessions, p);
      for (const b of p.backends ?? []) put(backendKey(p.name, b.name), b.sessions, b);
    }
    for (const key of this.#series.keys()) if (!seen.has(key)) this.#series.delete(key);
  }

  // span returns how many minutes to show at time t: the last of the choices, or the first
  // one that is long enough for what there is.
  span(t, choices) {
    const first = this.#series.get(ALL)?.points[0]?.t ?? t;
    return choices.find((minutes) => t - first <= minutes * 60_000) ?? choices.at(-1);
  }

  // pause makes the next points begin after a gap.
  pause() { for (const s of this.#series.values()) s.pause(); }

  clear() { this.#series.clear(); }

  // points returns the points of a key since a time.
  points(key, since = 0) {
    const all = this.#series.get(key)?.points ?? [];
    const first = all.findIndex((p) => p.t >= since);
    return first < 0 ? [] : all.slice(first);
  }
}

// sum adds up the counts of pools.
export function sum(pools) {
  const s = { opened: 0, failed: 0, from_client: { messages: 0, bytes: 0 }, from_backend: { messages: 0, bytes: 0 }, closes: {} };
  for (const p of pools) {
    s.opened += p.opened ?? 0;
    s.failed += p.failed ?? 0;
    for (const side of ["from_client", "from_backend"]) {
      for (const what of ["messages", "bytes"]) s[side][what] += p[side]?.[what] ?? 0;
    }
    for (const [cause, n] of Object.entries(p.closes ?? {})) s.closes[cause] = (s.closes[cause] ?? 0) + n;
  }
  return s;
}

// causes lists the causes of closes in points, the most frequent first.
export function causes(points) {
  const total = {};
  for (const p of points) for (const [c, n] of Object.entries(p.closes ?? {})) total[c] = (total[c] ?? 0) + n;
  return Object.keys(total).sort((a, b) => total[b] - total[a] || (a < b ? -1 : 1));
}
