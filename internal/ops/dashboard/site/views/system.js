// The balancer itself: its process, listeners, routes, certificates, log level and reload.

import { badge, button, h, Keyed, pair, row, setBadge, table, text } from "../dom.js";
import * as api from "../api.js";
import { ask, showProblem } from "../dialog.js";
import { say } from "../announce.js";
import { count, day, daysLeft, plural, soon, when } from "../format.js";
import { refresh, store } from "../store.js";

const certificateColumns = [
  { name: "names", label: "Names" },
  { name: "of", label: "Used by" },
  { name: "key", label: "Key" },
  { name: "after", label: "Expires" },
  { name: "left", label: "Left" },
];
const routeColumns = [
  { name: "route", label: "Route" },
  { name: "listeners", label: "Listeners" },
  { name: "to", label: "Leads to" },
  { name: "auth", label: "Asks clients for" },
];
const LEVELS = ["debug", "info", "warn", "error"];

export function system() {
  const facts = new Keyed(h("dl", { class: "facts" }), () => {
    const name = h("dt", {});
    const value = h("dd", {});
    return { element: h("div", {}, name, value), update: (f) => { text(name, f[0]); text(value, f[1]); } };
  });
  const certificates = table("Certificates", certificateColumns, { id: "certificates" });
  const certificateRows = new Keyed(certificates.body, certificateRow);
  const noCertificates = h("p", { class: "soft" }, "Neither a listener nor a backend has TLS.");
  const routes = table("Routes, in the order in which they match", routeColumns);
  const routeRows = new Keyed(routes.body, routeRow);
  const noRoutes = h("p", { class: "soft" }, "There is one pool, and everything goes to it.");
  const level = h("select", { id: "log-level", name: "level", on: { change: setLevel } }, LEVELS.map((l) => h("option", { value: l }, l)));
  const levelFile = h("span", { class: "soft" });
  const problem = h("div", { class: "problem", role: "alert" });
  let generation = -1;

  const element = h("div", { class: "view" }, h("h1", { class: "hidden" }, "System"),
    h("section", { class: "card", "aria-labelledby": "process-title" },
      h("div", { class: "bar" }, h("h2", { id: "process-title" }, "Balancer"), button("Reload the configuration…", reload, { "data-testid": "reload" })), facts.parent),
    h("section", { class: "card", "aria-labelledby": "log-title" }, h("h2", { id: "log-title" }, "Log"),
      h("div", { class: "controls" }, pair("Lowest level that is written", level), levelFile), problem),
    h("section", { class: "card", "aria-labelledby": "certificates-title" }, h("h2", { id: "certificates-title" }, "Certificates"), noCertificates, certificates.element),
    h("section", { class: "card", "aria-labelledby": "routes-title" }, h("h2", { id: "routes-title" }, "Routes"), noRoutes, routes.element));

  function update() {
    const s = store.status;
    facts.update([
      ["Version", s.version],
      ["Started", when(s.started)],
      ["Configuration file", s.config_file || "none"],
      ["Configurations loaded", count(s.generation)],
      ["Listeners", (s.listeners ?? []).map((l) => l.name && l.name !== l.address ? `${l.name}: ${l.address}` : l.address).join(", ")],
      ["Engine", s.engine === "epoll" ? `epoll, ${plural(s.loops, "loop")}` : s.engine],
      ["Processors", count(s.processors)],
      ["Plain HTTP requests now", count(s.totals.requests)],
    ], (f) => f[0]);
    if (document.activeElement !== level && s.log_level) level.value = s.log_level;
    const all = certificatesOf(s);
    certificateRows.update(all, (c) => c.key_);
    noCertificates.hidden = all.length > 0;
    certificates.element.hidden = !all.length;
    if (s.generation !== generation) {
      generation = s.generation;
      load();
    }
  }

  // load asks for what changes with a reload only.
  async function load() {
    try {
      const [list, log] = await Promise.all([api.get("/v1/routes"), api.get("/v1/log")]);
      text(levelFile, log.file ? `The file has ${log.file}.` : "");
      routeRows.update((list ?? []).map((r, i) => ({ ...r, i })), (r) => r.i);
      noRoutes.hidden = list?.length > 0;
      routes.element.hidden = !list?.length;
    } catch (error) {
      generation = -1;
      showProblem(problem, error);
    }
  }

  async function setLevel() {
    const want = level.value;
    try {
      const log = await api.put("/v1/log", { level: want });
      problem.replaceChildren();
      say(`The log has lines of the level ${log.level} and above now.`);
    } catch (error) {
      level.value = store.status.log_level;
      showProblem(problem, error);
    }
    refresh();
  }

  async function reload() {
    const result = await ask("Reload the configuration", [
      h("p", {}, `The balancer reads ${store.status.config_file || "its configuration"} again. Live sessions go on. If the file has a mistake, nothing changes, and you are shown where it is.`),
    ], { action: "Reload", testid: "reload-dialog", run: () => api.post("/v1/reload") });
    if (!result) return;
    const warnings = result.warnings ?? [];
    say(`Reloaded: configuration ${result.generation}.${warnings.length ? ` ${plural(warnings.length, "warning")}: ${warnings.join("; ")}` : ""}`);
    generation = -1;
    refresh();
  }
  return { element, update, show: () => { generation = -1; } };
}

// certificatesOf lists those of listeners and backends, the first to expire first.
function certificatesOf(s) {
  const all = (s.certificates ?? []).map((c) => ({ ...c, of: c.cert, key_: JSON.stringify(["", c.cert, c.names]) }));
  for (const p of s.pools) {
    for (const b of p.backends ?? []) {
      if (b.certificate) all.push({ ...b.certificate, of: `backend ${p.name}/${b.name}`, key_: JSON.stringify([p.name, b.name]) });
    }
  }
  return all.sort((a, b) => a.days_left - b.days_left);
}

function certificateRow() {
  const { element, cells } = row(certificateColumns, "names", { "data-testid": "certificate" });
  const names = h("span", {});
  const problem = h("p", { class: "bad" });
  const left = badge("");
  cells.names.append(names, problem);
  cells.left.append(left);
  return { element, update: (c) => {
    text(names, (c.names ?? []).join(", ") || "–");
    text(problem, c.problem ?? "");
    problem.hidden = !c.problem;
    text(cells.of, c.of);
    text(cells.key, c.key || "–");
    text(cells.after, day(c.not_after));
    setBadge(left, c.days_left < 0 ? "down" : c.days_left < soon ? "warming" : "up", daysLeft(c.days_left));
  } };
}

function routeRow() {
  const { element, cells } = row(routeColumns, "route");
  return { element, update: (r) => {
    text(cells.route, r.name || "everything");
    text(cells.listeners, (r.listeners ?? []).join(", ") || "all");
    text(cells.to, r.pool ? `pool ${r.pool}` : r.split ? Object.entries(r.split).map(([p, w]) => `${p} (${w})`).join(", ") : r.answer || "–");
    text(cells.auth, (r.auth ?? []).join(", ") || "–");
  } };
}
