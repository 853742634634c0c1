// What the demo adds to the chat's page: its servers, how many sessions each
// has, and what can be done to them. It knows the page by its aside, after whose
// first card it goes, and by the name of the server that serves the page.

const EVERY = 500; // ms between two looks at the demo
const LONGEST = 10_000; // ms, when it doesn't answer
const TIMEOUT = 3000; // ms for one answer
const PATIENCE = 15_000; // ms for that to an order: a server that is added has to start
const GIVEN_UP = 2; // looks without an answer before the user is told
const SPAN = 60; // s that the charts show
const HOLE = 3; // s without a look, over which no line is drawn
const HEIGHT = 24; // of a chart, in its own units; its width is SPAN

const symbols = { starting: "○", serving: "●", draining: "◐", down: "✕" };

const serves = document.querySelector('[data-testid="server"]');
const rows = new Map(); // name → Row, in the order that they are shown

// ---- the section

const ui = {
  total: element("span", { testid: "total" }),
  list: element("ul", { className: "servers" }),
  add: element("button", { type: "button", testid: "add", textContent: "Add a server" }),
  guests: element("p", { className: "soft", testid: "guests", hidden: true }),
  said: element("p", { className: "said soft", testid: "said", role: "status",
    textContent: "Take a server away, and watch its sessions." }),
};
ui.add.addEventListener("click", () => act(ui.add, "add", "One more server. The others give it sessions."));

const title = element("h2", { id: "demo-title" }, "Servers ", ui.total);
const section = element("section", { className: "card demo", testid: "demo" },
  title, ui.list, element("div", { className: "below" }, ui.add, ui.guests), ui.said);
section.setAttribute("aria-labelledby", title.id);

document.head.append(element("link", { rel: "stylesheet", href: "/demo/controls.css" }));
document.querySelector("aside .card").after(section);

// Row is one server. It is changed in place, so that a button that has the focus
// keeps it.
class Row {
  #name;
  #samples = []; // {at, sessions}, of the last SPAN
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
      act(this.drain, `drain${query}`, `${name} is drained: its sessions move to the others.`));
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

  most() {
    return Math.max(...this.#samples.map((s) => s.sessions));
  }

  // draw is to the same scale for all, so that they can be compared.
  draw(now, top) {
    const pieces = [];
    let before = -Infinity;
    for (const { at, sessions } of this.#samples) {
      if (at - before > HOLE) pieces.push([]);
      pieces.at(-1).push([(SPAN - (now - at)).toFixed(2), (HEIGHT * (1 - sessions / top)).toFixed(2)]);
      before = at;
    }
    const lines = pieces.map((points) => points.map((p) => p.join()).join(" L"));
    this.#line.setAttribute("d", lines.map((l) => `M${l}`).join(" "));
    this.#area.setAttribute("d", lines.map((l, i) =>
      `M${pieces[i][0][0]},${HEIGHT} L${l} L${pieces[i].at(-1)[0]},${HEIGHT} Z`).join(" "));

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

// ---- looking

let timer = 0;
let looking = false;
let failures = 0; // looks without an answer, since the last that had one

async function look() {
  clearTimeout(timer);
  if (looking) return;
  looking = true;
  try {
    const answer = await fetch("/demo/status", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    if (failures >= GIVEN_UP) say("The demo is there again.");
    failures = 0;
  } catch {
    if (++failures === GIVEN_UP) ended();
  }
  looking = false;
  if (!document.hidden) timer = setTimeout(look, Math.min(EVERY * 2 ** failures, LONGEST));
}

document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : look());
new MutationObserver(mark).observe(serves, { childList: true, characterData: true, subtree: true });
look();

function show({ servers, most, guests }) {
  section.classList.remove("ended");
  const now = performance.now() / 1000;
  for (const [name, row] of rows) if (!servers.some((s) => s.name === name)) remove(name, row);
  servers.forEach((server, i) => {
    const row = rows.get(server.name) ?? new Row(server.name);
    rows.set(server.name, row);
    row.update(server, now);
    if (ui.list.children[i] !== row.item) ui.list.insertBefore(row.item, ui.list.children[i] ?? null);
  });
  const top = Math.max(10, ...[...rows.values()].map((row) => row.most()));
  for (const row of rows.values()) row.draw(now, top);
  mark();

  const total = servers.reduce((sum, s) => sum + s.sessions, 0);
  ui.total.textContent = `${servers.length} · sessions ${total}`;
  enable(ui.add, servers.length < most);
  ui.guests.hidden = !guests;
  if (guests) ui.guests.textContent = `${guests.sessions} guests · ${guests.moves} moves · ${guests.reconnects} reconnects`;
}

function mark() {
  for (const [name, row] of rows) row.mark(name === serves.textContent);
}

// remove leaves the focus near to where it was.
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

// ---- doing

// enable doesn't use disabled, which would take the focus away.
function enable(button, can) {
  button.ariaDisabled = can ? null : "true";
}

async function act(button, what, done) {
  if (button.ariaDisabled) return;
  try {
    const answer = await fetch(`/demo/${what}`, { method: "POST", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.ok) say(done);
    else say((await answer.text()).trim() || `The demo refused it with ${answer.status}.`, true);
  } catch {
    say("The demo doesn't answer.", true);
  }
  look();
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
