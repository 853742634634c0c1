// What goes on: figures, what needs attention, charts, pools, and the last events.

import { badge, h, Keyed, pair, row, setBadge, table, text } from "../dom.js";
import { Chart } from "../chart.js";
import { bytes, count, daysLeft, latency, plural, rate, seconds, soon } from "../format.js";
import { ALL, backendKey, causes, poolKey } from "../history.js";
import { store } from "../store.js";
import { eventItem } from "./events.js";

const RANGES = [2, 5, 15]; // minutes
const LATEST = 8; // events

const columns = [
  { name: "pool", label: "Pool" },
  { name: "up", label: "Backends up", class: "num" },
  { name: "sessions", label: "Sessions", class: "num" },
  { name: "opened", label: "Connects/s", class: "num" },
  { name: "messages", label: "Messages/s", class: "num" },
  { name: "bytes", label: "Bytes/s", class: "num" },
  { name: "p99", label: "p99 of handshakes", class: "num" },
  { name: "queued", label: "Queued", class: "num" },
];

export function overview() {
  const figures = new Keyed(h("dl", { class: "figures", "data-testid": "figures" }), figure);
  const attention = new Keyed(h("ul", { class: "attention", "data-testid": "attention" }), (item) => {
    const link = h("a", {});
    return {
      element: h("li", { "data-level": item.level }, link),
      update: (i) => { text(link, i.words); link.setAttribute("href", i.href); },
    };
  });
  const scope = h("select", { id: "scope", on: { change: () => update() } });
  const range = h("select", { id: "range", on: { change: () => update() } },
    RANGES.map((m) => h("option", { value: m, selected: m === 5 }, `${m} minutes`)));
  const sofar = h("span", { class: "soft" });
  const charts = {
    sessions: new Chart("Sessions", count, { id: "chart-sessions" }),
    opened: new Chart("Connects per second", rate, { id: "chart-connects" }),
    messages: new Chart("Messages per second", rate, { id: "chart-messages" }),
    closes: new Chart("Closes per second, by cause", rate, { id: "chart-closes" }),
  };
  const pools = table("Pools", columns);
  const poolRows = new Keyed(pools.body, poolRow);
  const latest = new Keyed(h("ol", { class: "timeline" }), eventItem);
  const none = h("p", { class: "soft" }, "Nothing has happened yet.");

  const heading = h("h2", { id: "attention-title" }, "Attention");
  const box = h("section", { class: "card warn", "aria-labelledby": "attention-title", hidden: true }, heading, attention.parent);
  const element = h("div", { class: "view" },
    h("h1", { class: "hidden" }, "Overview"),
    figures.parent, box,
    h("section", { class: "card", "aria-labelledby": "charts-title" },
      h("div", { class: "bar" }, h("h2", { id: "charts-title" }, "Traffic"),
        h("div", { class: "controls" }, pair("Show", scope), pair("of the last", range), sofar)),
      h("div", { class: "charts" }, Object.values(charts).map((c) => c.element))),
    h("section", { class: "card", "aria-labelledby": "pools-title" }, h("h2", { id: "pools-title" }, "Pools"), pools.element),
    h("section", { class: "card", "aria-labelledby": "latest-title" },
      h("div", { class: "bar" }, h("h2", { id: "latest-title" }, "Latest events"), h("a", { href: "#events" }, "All events")), latest.parent, none));

  function update() {
    const s = store.status;
    if (!s) return;
    figures.update(figuresOf(s), (f) => f.name);
    const needs = attentionOf(s);
    box.hidden = !needs.length;
    attention.update(needs, (n) => n.level + n.words);
    updateScopes(scope, s.pools);
    const to = store.at;
    const chosen = Number(range.value);
    const minutes = store.history.span(to, [1, ...RANGES].filter((m) => m <= chosen));
    text(sofar, minutes < chosen ? "(since this page was opened)" : "");
    const from = to - minutes * 60000;
    const [pool, backend] = scope.value ? JSON.parse(scope.value) : [];
    const lines = linesOf(s, pool, backend, from);
    for (const [name, chart] of Object.entries(charts)) chart.update(lines[name], from, to);
    poolRows.update(s.pools, (p) => p.name);
    updateEvents();
  }

  function updateEvents() {
    latest.update(store.events.slice(0, LATEST), (e) => e.id);
    none.hidden = store.events.length > 0;
  }
  return { element, update, updateEvents };
}

function figure() {
  const value = h("dd", {});
  const name = h("dt", {});
  const more = h("dd", { class: "soft" });
  const element = h("div", {}, name, value, more);
  return { element, update: (f) => {
    element.dataset.testid = `figure-${f.id}`;
    text(name, f.name);
    text(value, f.value);
    text(more, f.more ?? "");
  } };
}

function figuresOf(s) {
  const all = s.pools.flatMap((p) => p.backends ?? []);
  const up = all.filter((b) => b.state === "up" || b.state === "warming").length;
  const p99 = s.pools.map((p) => p.handshake?.p99).filter((v) => v !== undefined);
  const failed = store.history.points(ALL).at(-1)?.failed;
  return [
    { id: "sessions", name: "Sessions", value: count(s.totals.active), more: `${count(s.totals.opened)} since the start` },
    { id: "connects", name: "Connects/s", value: rate(s.rates.opened), more: `${rate(failed)}/s failed` },
    { id: "closes", name: "Closes/s", value: rate(s.rates.closed) },
    { id: "messages", name: "Messages/s", value: rate(s.rates.messages), more: `${bytes(s.rates.bytes)}/s` },
    { id: "p99", name: "p99 of handshakes", value: p99.length ? latency(Math.max(...p99)) : "–", more: s.pools.length > 1 ? "of the slowest pool" : "" },
    { id: "backends", name: "Backends up", value: `${up} of ${all.length}`, more: plural(s.pools.length, "pool") },
    { id: "uptime", name: "Running for", value: seconds(Math.floor((store.at - new Date(s.started)) / 1000)), more: `configuration ${count(s.generation)}` },
  ];
}

const troubled = { down: "error", ejected: "error", unresolved: "error", unready: "warn" };

// attentionOf lists what an operator should know, the worst first.
function attentionOf(s) {
  const list = [];
  const add = (level, words, href) => list.push({ level, words, href });
  for (const p of s.pools) {
    const href = `#backends?pool=${encodeURIComponent(p.name)}`;
    const backends = p.backends ?? [];
    if (backends.length && !backends.some((b) => b.share > 0 && ["up", "warming"].includes(b.state))) {
      add("error", `No backend of ${p.name} takes new sessions.`, href);
    }
    for (const b of backends) {
      const level = troubled[b.state];
      if (level) add(level, `${p.name}/${b.name} is ${b.state}${b.reason ? `: ${b.reason}` : "."}`, href);
      if (b.admin !== "ready" && b.state !== "removed") add("info", `${p.name}/${b.name} is ${b.admin === "drain" ? "drained" : "in maintenance"}: ${b.sessions ? `${plural(b.sessions, "session")} left` : "it is empty"}.`, href);
      if (b.certificate?.days_left < soon) add(b.certificate.days_left < 0 ? "error" : "warn", `The certificate of ${p.name}/${b.name}: ${daysLeft(b.certificate.days_left)}.`, href);
    }
    for (const d of p.discovery ?? []) if (d.trouble) add("warn", `Discovery of ${p.name} by ${d.source} fails: ${d.trouble}`, href);
    if (p.queued) add("warn", `${plural(p.queued, "handshake")} wait in the queue of ${p.name}.`, href);
  }
  for (const c of s.certificates ?? []) {
    const names = (c.names ?? []).join(", ") || c.cert;
    if (c.problem) add("warn", `The certificate for ${names} can't be read again: ${c.problem}`, "#system");
    if (c.days_left < soon) add(c.days_left < 0 ? "error" : "warn", `The certificate for ${names}: ${daysLeft(c.days_left)}.`, "#system");
  }
  if (s.changes) add("info", `${plural(s.changes, "change")} made at run time ${s.changes === 1 ? "differs" : "differ"} from the configuration.`, "#changes");
  const order = ["error", "warn", "info"];
  return list.sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));
}

// updateScopes lists all, the pools and their backends.
function updateScopes(select, pools) {
  const want = [["", "all pools"]];
  for (const p of pools) {
    want.push([poolKey(p.name), p.name]);
    for (const b of p.backends ?? []) want.push([backendKey(p.name, b.name), `${p.name}/${b.name}`]);
  }
  if (JSON.stringify(want) === select.dataset.options) return;
  const chosen = select.value;
  select.dataset.options = JSON.stringify(want);
  select.replaceChildren(...want.map(([value, label]) => h("option", { value }, label)));
  select.value = want.some(([v]) => v === chosen) ? chosen : "";
}

// linesOf makes the lines of all charts: of all, one for each pool; of a pool, one for each
// backend; of a backend, what came of its handshakes and the side that sent messages.
function linesOf(s, pool, backend, from) {
  const points = (key) => store.history.points(key, from);
  const line = (label, key, value) => ({ label, values: points(key).map((p) => [p.t, value(p)]) });
  const messages = (p) => p.fromClient === null ? null : p.fromClient + p.fromBackend;
  const scope = backend !== undefined ? backendKey(pool, backend) : pool !== undefined ? poolKey(pool) : ALL;
  const all = points(scope);
  const closes = causes(all).map((cause) => ({ label: cause, values: all.map((p) => [p.t, p.closes ? p.closes[cause] ?? 0 : null]) }));
  if (backend !== undefined) {
    return {
      sessions: [line(backend, scope, (p) => p.sessions)],
      opened: [line("opened", scope, (p) => p.opened), line("failed", scope, (p) => p.failed)],
      messages: [line("from clients", scope, (p) => p.fromClient), line("from the backend", scope, (p) => p.fromBackend)],
      closes,
    };
  }
  const parts = pool === undefined ? s.pools.map((p) => [p.name, poolKey(p.name)])
    : (s.pools.find((p) => p.name === pool)?.backends ?? []).map((b) => [b.name, backendKey(pool, b.name)]);
  const each = (value) => parts.map(([label, key]) => line(label, key, value));
  return { sessions: each((p) => p.sessions), opened: each((p) => p.opened), messages: each(messages), closes };
}

function poolRow(p) {
  const { element, cells } = row(columns, "pool");
  const link = h("a", { href: `#backends?pool=${encodeURIComponent(p.name)}` }, p.name);
  const state = badge("");
  cells.pool.append(link);
  cells.up.append(state);
  return { element, update: (p) => {
    const all = p.backends ?? [];
    const up = all.filter((b) => b.state === "up" || b.state === "warming").length;
    setBadge(state, up === all.length ? "up" : up ? "warming" : "down", `${up} of ${all.length}`);
    text(cells.sessions, count(p.sessions));
    text(cells.opened, rate(p.rates?.opened));
    text(cells.messages, rate(p.rates?.messages));
    text(cells.bytes, bytes(p.rates?.bytes));
    text(cells.p99, latency(p.handshake?.p99));
    text(cells.queued, count(p.queued ?? 0));
  } };
}
