// Live sessions: search, pages, details, close.

import { attr, button, enable, h, Keyed, row, table, text } from "../dom.js";
import * as api from "../api.js";
import { showProblem } from "../dialog.js";
import { bytes, count, seconds } from "../format.js";
import { store } from "../store.js";
import { closeMatching, closeOne } from "./session/close.js";
import { details } from "./session/details.js";

const PAGE = 50;
const AGAIN = 5000; // ms between two requests for the page that is shown
const TYPING = 300; // ms after the last key before a search
const MOST_EMPTY = 40; // pages without a session that are passed over

const columns = [
  { name: "client", label: "Client" },
  { name: "claims", label: "Claims", class: "claims" },
  { name: "backend", label: "Backend" },
  { name: "route", label: "Route" },
  { name: "age", label: "Age", class: "num" },
  { name: "idle", label: "Idle", class: "num" },
  { name: "client_sent", label: "From client", class: "num" },
  { name: "backend_sent", label: "From backend", class: "num" },
  { name: "actions", label: "Actions", class: "actions" },
];

const filters = [
  ["search", "Search", "id, address, route, claim", "search"],
  ["pool", "Pool", ""],
  ["backend", "Backend", ""],
  ["client", "Client", "192.0.2.0/24", "text"],
  ["claim", "Claim", "sub=alice", "text"],
  ["min_age", "Older than", "2h", "text"],
  ["min_idle", "Idle for", "90s", "text"],
];

export function sessions() {
  const inputs = Object.fromEntries(filters.map(([name, , hint, type]) => [name, type
    ? h("input", { type, name, id: `filter-${name}`, placeholder: hint, autocomplete: "off", spellcheck: false, on: { input: typed } })
    : h("select", { name, id: `filter-${name}`, on: { change: () => { if (name === "pool") listBackends(); first(); } } })]));
  const t = table("Sessions", columns, { id: "sessions" });
  const rows = new Keyed(t.body, sessionRow);
  const problem = h("div", { class: "problem", role: "alert", "data-testid": "filter-problem" });
  const found = h("p", { class: "soft", "data-testid": "found" });
  const heard = h("p", { class: "hidden", role: "status" }); // the same, but only after what the user did
  const back = button("Previous", () => { trail.pop(); load(true); }, { "data-testid": "previous" });
  const forward = button("Next", () => { trail.push(next); load(true); }, { "data-testid": "next" });
  const clear = button("Clear", () => { for (const e of Object.values(inputs)) e.value = ""; listBackends(); first(); });
  const all = button("Close all that match…", async () => { if (await closeMatching(filter())) load(); }, { "data-testid": "close-all", class: "danger-quiet" });
  const form = h("form", { class: "filters", role: "search", "aria-label": "Sessions", on: { submit: (e) => { e.preventDefault(); first(); } } },
    filters.map(([name, label]) => h("div", { class: `field f-${name}` }, h("label", { for: `filter-${name}` }, label), inputs[name])), h("div", { class: "field" }, clear));
  const element = h("div", { class: "view" }, h("h1", { class: "hidden" }, "Sessions"),
    h("section", { class: "card", "aria-labelledby": "sessions-title" },
      h("div", { class: "bar" }, h("h2", { id: "sessions-title" }, "Sessions"), all), form, problem,
      heard, h("div", { class: "bar" }, found, h("div", { class: "pages" }, back, forward)), t.element));

  let trail = [""]; // the cursors of the pages up to the one that is shown
  let next = "";
  let timer = 0;
  let loading = null; // AbortController of the request under way
  let visible = false;

  function filter() {
    const values = {};
    for (const [name, e] of Object.entries(inputs)) if (e.value.trim() !== "") values[name] = e.value.trim();
    if (values.backend) [values.pool, values.backend] = JSON.parse(values.backend);
    return values;
  }

  function typed() {
    clearTimeout(timer);
    timer = setTimeout(first, TYPING);
  }

  function first() {
    trail = [""];
    load(true);
  }

  async function load(asked = false) {
    clearTimeout(timer);
    loading?.abort();
    const mine = loading = new AbortController();
    try {
      const page = await pageAfter(trail.at(-1), mine.signal);
      if (mine !== loading) return;
      problem.replaceChildren();
      showProblem(problem, { message: "" }, form);
      next = page.next ?? "";
      rows.update(page.sessions, (s) => s.id);
      t.element.hidden = !page.sessions.length;
      const from = (trail.length - 1) * PAGE;
      text(found, page.sessions.length ? `Sessions ${count(from + 1)} to ${count(from + page.sessions.length)}${next ? ", and there are more" : ""}`
        : Object.keys(filter()).length ? "No session matches." : "There are no sessions.");
      if (asked) text(heard, found.textContent);
      enable(back, trail.length > 1);
      enable(forward, next !== "");
    } catch (error) {
      if (mine !== loading || error.name === "AbortError") return;
      showProblem(problem, error, error.field ? form : null);
    }
    if (visible && mine === loading) timer = setTimeout(again, AGAIN);
  }

  // pageAfter passes over pages on which nothing matches.
  async function pageAfter(after, signal) {
    for (let empty = 0; ; empty++) {
      const page = await api.get(`/v1/sessions${api.query({ ...filter(), after, limit: PAGE })}`, { signal });
      if (page.sessions.length || !page.next || empty === MOST_EMPTY) return page;
      after = page.next;
    }
  }

  // again asks for the page that is shown, unless nobody sees it.
  function again() {
    if (document.hidden || document.querySelector("dialog[open]")) timer = setTimeout(again, AGAIN);
    else load();
  }

  function listPools() {
    const pools = store.status?.pools ?? [];
    const names = JSON.stringify(pools.map((p) => [p.name, (p.backends ?? []).map((b) => b.name)]));
    if (inputs.pool.dataset.names === names) return;
    inputs.pool.dataset.names = names;
    const chosen = inputs.pool.value;
    inputs.pool.replaceChildren(h("option", { value: "" }, "all"), ...pools.map((p) => h("option", { value: p.name }, p.name)));
    inputs.pool.value = pools.some((p) => p.name === chosen) ? chosen : "";
    listBackends();
  }

  function listBackends() {
    const chosen = inputs.backend.value;
    const some = (store.status?.pools ?? []).filter((p) => !inputs.pool.value || p.name === inputs.pool.value);
    const options = some.flatMap((p) => (p.backends ?? []).map((b) => [JSON.stringify([p.name, b.name]), inputs.pool.value ? b.name : `${p.name}/${b.name}`]));
    inputs.backend.replaceChildren(h("option", { value: "" }, "all"), ...options.map(([value, label]) => h("option", { value }, label)));
    inputs.backend.value = options.some(([v]) => v === chosen) ? chosen : "";
  }

  function sessionRow(first) {
    const { element, cells } = row(columns, "client", { "data-testid": "session", "data-id": first.id });
    let s = first;
    const open = button(first.client, () => details(s, () => load()), { class: "linklike mono", "data-testid": "details" });
    attr(open, { "aria-haspopup": "dialog" });
    cells.client.append(open, h("span", { class: "soft mono id" }, first.id));
    cells.actions.append(button("Close…", async () => { if (await closeOne(s)) load(); }, { "data-testid": "close", "aria-label": `Close the session of ${first.client}` }));
    return { element, update: (now) => {
      s = now;
      text(cells.claims, Object.entries(s.claims ?? {}).map(([k, v]) => `${k}=${v}`).join(" ") || "–");
      text(cells.backend, `${s.pool}/${s.backend}`);
      text(cells.route, s.route || "everything");
      text(cells.age, seconds(Math.floor(s.age_seconds)));
      text(cells.idle, seconds(Math.floor(s.idle_seconds)));
      text(cells.client_sent, `${count(s.from_client.messages)} · ${bytes(s.from_client.bytes)}`);
      text(cells.backend_sent, `${count(s.from_backend.messages)} · ${bytes(s.from_backend.bytes)}`);
    } };
  }

  return {
    element,
    show(parameters) {
      visible = true;
      listPools();
      if ([...parameters].length) {
        for (const [name, e] of Object.entries(inputs)) if (name !== "backend") e.value = parameters.get(name) ?? "";
        listBackends();
        const backend = parameters.get("backend");
        inputs.backend.value = backend ? JSON.stringify([parameters.get("pool"), backend]) : "";
      }
      first();
    },
    hide() {
      visible = false;
      clearTimeout(timer);
      loading?.abort();
      loading = null;
    },
    update: listPools,
  };
}
