// The part that the demo adds to the chat's page: its servers, the number of
// sessions of each, and buttons to drain, kill and add servers. Of the page it uses
// the first card of the aside, after which it is inserted, and the name of the
// current server.

const POLL_INTERVAL = 500; // ms
const MAX_POLL_INTERVAL = 10_000; // ms, while the demo doesn't answer
const POLL_TIMEOUT = 3000; // ms
const ACTION_TIMEOUT = 15_000; // ms: a new server has to start
const MAX_FAILURES = 2; // failed polls before the user is told
const SPAN = 60; // s: what the charts show
const MAX_GAP = 3; // s: charts have a gap if there was no poll for longer
const HEIGHT = 24; // of a chart, in its own units; its width is SPAN

const symbols = { starting: "○", serving: "●", draining: "◐", down: "✕" };

const serves = document.querySelector('[data-testid="server"]');
const rows = new Map(); // name → Row, in the order in which they are displayed

// ---- the section

const ui = {
  total: element("span", { testid: "total" }),
  list: element("ul", { className: "servers" }),
  add: element("button", { type: "button", testid: "add", textContent: "Add a server" }),
  guests: element("p", { className: "soft", testid: "guests", hidden: true }),
  dashboard: element("a", { testid: "dashboard", target: "_blank", rel: "noopener", hidden: true, textContent: "The balancer's dashboard" }),
  said: element("p", { className: "said soft", testid: "said", role: "status",
    textContent: "Drain or kill a server, and watch its sessions." }),
};
ui.add.addEventListener("click", () => act(ui.add, "add", "A server was added. Sessions of the others move to it."));

const title = element("h2", { id: "demo-title" }, "Servers ", ui.total);
const section = element("section", { className: "card demo", testid: "demo" },
  title, ui.list, element("div", { className: "below" }, ui.add, ui.guests), ui.said, ui.dashboard);
section.setAttribute("aria-labelledby", title.id);

document.head.append(element("link", { rel: "stylesheet", href: "/demo/controls.css" }));
document.querySelector("aside .card").after(section);

// Row displays a server. It is updated in place, so that a focused button keeps the
// focus.
class Row {
  #name;
  #samples = []; // {at, sessions} of the last SPAN seconds
  #state = element("span", { className: "what", testid: "state" });
  #pid = element("span", { className: "soft", testid: "pid" });
  #here = element("span", { className: "here", textContent: "this page", hidden: true });
  #number = element("b", { testid: "sessions" });
  #bar = element("i");
  #chart = svg("svg", { viewBox: `0 0 ${SPAN} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  #area = svg("path", { class: "area" });
  #line = svg("path", { class: "line" });

  constructor(name) {
    this.#name = name;
    this.drain = element("button", { type: "button", testid: "drain", ariaLabel: `Drain ${name}`, textContent: "Drain" });
    this.kill = element("button", { type: "button", testid: "kill", ariaLabel: `Kill -9 ${name}`, textContent: "Kill -9" });
    const query = `?server=${encodeURIComponent(name)}`;
    this.drain.addEventListener("click", () =>
      act(this.drain, `drain${query}`, `${name} is draining. Its sessions move to the others.`));
    this.kill.addEventListener("click", () => act(this.kill, `kill${query}`, `${name} was killed.`));
    this.#chart.append(this.#area, this.#line);
    this.item = element("li", { testid: "server-row" },
      element("div", { className: "process" }, element("strong", { textContent: name }), this.#here, this.#state, this.#pid),
      element("div", { className: "chart" }, this.#chart, element("div", { className: "bar", ariaHidden: "true" }, this.#bar)),
      element("div", { className: "number" }, this.#number, element("span", { className: "hidden", textContent: " sessions" })),
      this.drain, this.kill);
    this.item.dataset.server = name;
  }

  update({ state, pid, sessions }, now) {
    this.item.dataset.state = state;
    this.#state.textContent = `${symbols[state] ?? "?"} ${state}`;
    this.#pid.textContent = pid ? `pid ${pid}` : "";
    this.#number.textContent = sessions;
    this.#samples.push({ at: now, sessions });
    while (now - this.#samples[0].at > SPAN) this.#samples.shift();
    enable(this.drain, state === "serving");
    enable(this.kill, pid !== 0);
  }

  max() {
    return Math.max(...this.#samples.map((s) => s.sessions));
  }

  // draw draws the chart. All rows use the same scale.
  draw(now, top) {
    const segments = [];
    let before = -Infinity;
    for (const { at, sessions } of this.#samples) {
      if (at - before > MAX_GAP) segments.push([]);
      segments.at(-1).push([(SPAN - (now - at)).toFixed(2), (HEIGHT * (1 - sessions / top)).toFixed(2)]);
      before = at;
    }
    const lines = segments.map((points) => points.map((p) => p.join()).join(" L"));
    this.#line.setAttribute("d", lines.map((l) => `M${l}`).join(" "));
    this.#area.setAttribute("d", lines.map((l, i) =>
      `M${segments[i][0][0]},${HEIGHT} L${l} L${segments[i].at(-1)[0]},${HEIGHT} Z`).join(" "));

    const all = this.#samples.map((s) => s.sessions);
    this.#chart.setAttribute("aria-label", `Sessions of ${this.#name} in the last ${SPAN} seconds: ` +
      `at first ${all[0]}, at least ${Math.min(...all)}, at most ${Math.max(...all)}, now ${all.at(-1)}`);
    this.#bar.style.height = `${100 * all.at(-1) / top}%`;
  }

  mark(here) {
    this.#here.hidden = !here;
    this.item.ariaCurrent = here ? "true" : null;
  }
}

// ---- polling

let timer = 0;
let polling = false;
let failures = 0; // failed polls since the last successful one

async function poll() {
  clearTimeout(timer);
  if (polling) return;
  polling = true;
  try {
    const answer = await fetch("/demo/status", { cache: "no-store", signal: AbortSignal.timeout(POLL_TIMEOUT) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    if (failures >= MAX_FAILURES) say("The demo is back.");
    failures = 0;
  } catch {
    if (++failures === MAX_FAILURES) ended();
  }
  polling = false;
  if (!document.hidden) timer = setTimeout(poll, Math.min(POLL_INTERVAL * 2 ** failures, MAX_POLL_INTERVAL));
}

document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : poll());
new MutationObserver(mark).observe(serves, { childList: true, characterData: true, subtree: true });
poll();

function show({ servers, most, guests, dashboard }) {
  section.classList.remove("ended");
  const now = performance.now() / 1000;
  for (const [name, row] of rows) if (!servers.some((s) => s.name === name)) remove(name, row);
  servers.forEach((server, i) => {
    const row = rows.get(server.name) ?? new Row(server.name);
    rows.set(server.name, row);
    row.update(server, now);
    if (ui.list.children[i] !== row.item) ui.list.insertBefore(row.item, ui.list.children[i] ?? null);
  });
  const top = Math.max(10, ...[...rows.values()].map((row) => row.max()));
  for (const row of rows.values()) row.draw(now, top);
  mark();

  const total = servers.reduce((sum, s) => sum + s.sessions, 0);
  ui.total.textContent = `${servers.length} · sessions ${total}`;
  enable(ui.add, servers.length < most);
  ui.dashboard.hidden = !dashboard;
  if (dashboard) ui.dashboard.href = dashboard;
  ui.guests.hidden = !guests;
  if (guests) ui.guests.textContent = `${guests.sessions} guests · ${guests.moves} moves · ${guests.reconnects} reconnects`;
}

function mark() {
  for (const [name, row] of rows) row.mark(name === serves.textContent);
}

// remove keeps the focus near its previous position.
function remove(name, row) {
  const next = row.item.nextElementSibling ?? row.item.previousElementSibling;
  if (row.item.contains(document.activeElement)) (next?.querySelector("button") ?? ui.add).focus();
  row.item.remove();
  rows.delete(name);
}

function ended() {
  section.classList.add("ended");
  for (const button of section.querySelectorAll("button")) enable(button, false);
  say("The demo has ended.", true);
}

// ---- actions

// enable uses aria-disabled because a disabled button would lose the focus.
function enable(button, can) {
  button.ariaDisabled = can ? null : "true";
}

async function act(button, what, done) {
  if (button.ariaDisabled) return;
  try {
    const answer = await fetch(`/demo/${what}`, { method: "POST", signal: AbortSignal.timeout(ACTION_TIMEOUT) });
    if (answer.ok) say(done);
    else say((await answer.text()).trim() || `The request failed with status ${answer.status}.`, true);
  } catch {
    say("The demo doesn't answer.", true);
  }
  poll();
}

function say(text, bad = false) {
  ui.said.textContent = text;
  ui.said.classList.toggle("bad", bad);
}

// ---- elements

function element(tag, { testid, ...properties } = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  if (testid) e.dataset.testid = testid;
  e.append(...children);
  return e;
}

function svg(tag, attributes) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  return e;
}
