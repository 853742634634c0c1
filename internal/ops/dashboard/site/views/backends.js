// Backends by pool, with what operators do with them.

import { attr, badge, button, enable, h, Keyed, pair, row, setBadge, table, text } from "../dom.js";
import { Spark } from "../chart.js";
import { bytes, count, daysLeft, latency, plural, rate, ago, soon, when } from "../format.js";
import { backendKey } from "../history.js";
import { store } from "../store.js";
import { changeWeight, drain, maint, ready, undrain } from "./backend/actions.js";
import { Progress } from "./backend/progress.js";

const SPARK = [1, 2, 5]; // minutes

const columns = [
  { name: "backend", label: "Backend" },
  { name: "state", label: "State", class: "state" },
  { name: "axes", label: "Axes of the state", class: "axes" },
  { name: "sessions", label: "Sessions", class: "num" },
  { name: "weight", label: "Weight", class: "num" },
  { name: "opened", label: "Connects/s", class: "num" },
  { name: "messages", label: "Messages/s", class: "num" },
  { name: "p99", label: "p99", class: "num" },
  { name: "check", label: "Last check", class: "check" },
  { name: "certificate", label: "Certificate", class: "check" },
  { name: "actions", label: "Actions", class: "actions" },
];

export function backends() {
  let only = ""; // a pool
  const pool = h("select", { id: "backends-pool", on: { change: () => {
    location.hash = pool.value ? `#backends?pool=${encodeURIComponent(pool.value)}` : "#backends";
  } } });
  const state = h("select", { id: "backends-state", on: { change: update } },
    h("option", { value: "" }, "all states"), h("option", { value: "not" }, "not up"), h("option", { value: "changed" }, "changed at run time"));
  const word = h("input", { type: "search", id: "backends-search", autocomplete: "off", placeholder: "name, address, reason", on: { input: update } });
  const pools = new Keyed(h("div", { class: "stack" }), poolPart);
  const none = h("p", { class: "soft card" }, "No backend matches.");
  const element = h("div", { class: "view" }, h("h1", { class: "hidden" }, "Backends"),
    h("div", { class: "bar card" }, h("div", { class: "controls", role: "search", "aria-label": "Backends" }, pair("Pool", pool), pair("State", state), pair("Search", word))),
    pools.parent, none);

  const matches = (b) => (state.value === "not" ? b.state !== "up" : state.value === "changed" ? b.changed?.length : true)
    && `${b.name} ${b.address} ${b.state} ${b.reason ?? ""}`.toLowerCase().includes(word.value.trim().toLowerCase());

  function update() {
    const all = store.status?.pools;
    if (!all) return;
    const names = JSON.stringify(all.map((p) => p.name));
    if (pool.dataset.names !== names) {
      pool.dataset.names = names;
      pool.replaceChildren(h("option", { value: "" }, "all pools"), ...all.map((p) => h("option", { value: p.name }, p.name)));
    }
    pool.value = all.some((p) => p.name === only) ? only : "";
    const filtered = state.value !== "" || word.value.trim() !== "";
    const shown = all.filter((p) => !pool.value || p.name === pool.value)
      .map((p) => ({ ...p, shown: (p.backends ?? []).filter(matches) })).filter((p) => p.shown.length || !filtered);
    pools.update(shown, (p) => p.name);
    none.hidden = shown.length > 0;
  }
  return { element, update, show: (parameters) => { only = parameters.get("pool") ?? ""; } };
}

// poolPart is a pool with its table.
function poolPart(p) {
  const t = table(`Backends of ${p.name}`, columns, { kind: "of-backends" });
  const rows = new Keyed(t.body, (b) => backendRow(p.name, b));
  const facts = h("p", { class: "soft facts-line" });
  const trouble = h("p", { class: "bad" });
  const element = h("section", { class: "card", "data-testid": "pool", "data-pool": p.name, "aria-label": `Pool ${p.name}` },
    h("div", { class: "bar" }, h("h2", {}, p.name), facts), trouble, t.element);
  return { element, update: (p) => {
    text(facts, [
      p.balance, plural(p.sessions, "session"), p.max_sessions ? `at most ${count(p.max_sessions)}` : "",
      p.requests ? plural(p.requests, "HTTP request") : "", p.queued ? `${count(p.queued)} queued` : "",
      p.learned_keys ? plural(p.learned_keys, "learned key") : "",
      p.rebalance ? p.rebalance.active ? `rebalancing: ${count(p.rebalance.given)} given away, ${count(p.rebalance.excess)} too many` : "balanced" : "",
      ...(p.discovery ?? []).map((d) => `discovery by ${d.source}`),
    ].filter(Boolean).join(" · "));
    const failing = (p.discovery ?? []).filter((d) => d.trouble).map((d) => `${d.source}: ${d.trouble}`);
    text(trouble, failing.join("; "));
    trouble.hidden = !failing.length;
    rows.update(p.shown, (b) => b.name);
  } };
}

function backendRow(pool, first) {
  let b = first;
  const id = `${pool}/${first.name}`;
  const key = backendKey(pool, first.name);
  const { element, cells } = row(columns, "backend", { "data-testid": "backend", "data-backend": id });
  const address = h("span", { class: "soft mono" });
  const notes = h("span", { class: "notes" });
  cells.backend.append(h("strong", {}, first.name), address, notes);
  const state = badge("");
  const reason = h("p", { class: "reason" });
  const progress = new Progress(id);
  cells.state.append(state, reason, progress.element);
  const axes = ["Operational", "Admin", "Listed"].map((label) => [h("dt", {}, label), h("dd", {})]);
  cells.axes.append(h("dl", {}, axes.map((pair) => h("div", {}, pair))));
  const spark = new Spark();
  const number = h("a", { href: `#sessions?pool=${encodeURIComponent(pool)}&backend=${encodeURIComponent(first.name)}`, "data-testid": "sessions" });
  const most = h("span", { class: "soft" });
  cells.sessions.append(spark.element, h("span", { class: "value" }, number, most));
  const check = h("span", {});
  const checked = h("span", { class: "soft" });
  cells.check.append(check, " ", checked);
  const certificate = h("span", {});
  cells.certificate.append(certificate);
  const buttons = Object.fromEntries([
    ["drain", "Drain…", () => drain(pool, b)], ["undrain", "Undrain…", () => undrain(pool, b)],
    ["maint", "Maint…", () => maint(pool, b)], ["ready", "Ready…", () => ready(pool, b)],
    ["weight", "Weight…", () => changeWeight(pool, b)],
  ].map(([name, label, f]) => [name, button(label, f, { "data-testid": name, "aria-label": `${label} ${id}` })]));
  cells.actions.append(h("div", { class: "buttons" }, Object.values(buttons)));

  const update = (now) => {
    b = now;
    text(address, b.address);
    text(notes, [b.backup ? "backup" : "", b.source && b.source !== "file" ? b.source === "runtime" ? "added at run time" : b.source : "",
      b.changed?.length ? `changed: ${b.changed.join(", ")}` : ""].filter(Boolean).join(" · "));
    setBadge(state, b.state);
    text(reason, [b.reason, b.since ? `since ${when(b.since)}` : ""].filter(Boolean).join(", "));
    progress.update(b);
    axes.forEach(([, value], i) => text(value, [b.operational, b.admin, b.listed || "ready"][i]));
    text(number, count(b.sessions));
    attr(number, { "aria-label": `${plural(b.sessions, "session")} of ${id}` });
    text(most, b.max_sessions ? ` / ${count(b.max_sessions)}` : "");
    const from = store.at - store.history.span(store.at, SPARK) * 60_000;
    spark.update(store.history.points(key, from).map((p) => [p.t, p.sessions]), from, store.at);
    text(cells.weight, b.share < 1 && b.share > 0 ? `${count(b.weight)} × ${Math.round(b.share * 100)}%` : count(b.weight));
    text(cells.opened, rate(b.rates?.opened));
    text(cells.messages, rate(b.rates?.messages));
    attr(cells.messages, { title: `${bytes(b.rates?.bytes)}/s` });
    text(cells.p99, latency(b.handshake?.p99));
    const c = b.last_check;
    attr(check, { class: c && !c.ok ? "bad" : null });
    text(check, !c ? "none" : c.ok ? "ok" : !c.reason || b.reason?.includes(c.reason) ? "failed" : c.reason);
    text(checked, c ? `${latency(c.duration_seconds)}, ${ago(c.at, store.at)}` : "");
    const cert = b.certificate;
    text(certificate, cert ? daysLeft(cert.days_left) : "–");
    attr(certificate, { class: cert && cert.days_left < soon ? "bad" : null, title: cert ? `${(cert.names ?? []).join(", ")}, until ${when(cert.not_after)}` : null });
    const gone = b.state === "removed";
    show(buttons.drain, b.admin === "ready", buttons);
    show(buttons.undrain, b.admin === "drain", buttons);
    show(buttons.maint, b.admin !== "maint", buttons);
    show(buttons.ready, b.admin === "maint", buttons);
    for (const e of Object.values(buttons)) enable(e, !gone, "it was removed from the configuration");
  };
  return { element, update };
}

// show shows or hides a button. If the hidden one has the focus, another gets it.
function show(b, visible, all) {
  if (b.hidden === !visible) return;
  const focused = document.activeElement === b;
  b.hidden = !visible;
  if (focused) setTimeout(() => Object.values(all).find((other) => !other.hidden)?.focus());
}
