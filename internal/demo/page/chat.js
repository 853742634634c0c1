"use strict";

// Reconnecting: full jitter, so that the pages of a dead server do not come
// back all at the same moment. The first try is quick.
const FIRST_DELAY = 250; // ms
const BASE_DELAY = 1000;
const MAX_DELAY = 15000;
const STABLE_AFTER = 5000; // a connection this old was a success
const CONNECT_TIMEOUT = 10000;
const MAX_MESSAGES = 500; // kept on the page
const MAX_EVENTS = 100;

const $ = (id) => document.getElementById(id);
const ui = {
  status: $("status"), backend: $("backend"), scroller: $("scroller"), empty: $("empty"),
  messages: $("messages"), pending: $("pending"), events: $("events"), composer: $("composer"),
  name: $("name"), text: $("text"), crash: $("crash"), close: $("close"),
};

let socket = null;
let welcomed = false;
let failures = 0; // attempts since a connection was stable
let epoch = "";
let lastID = 0; // with epoch: where to resume
let server = "";
const outbox = new Map(); // key → {post, item}: sent or not, but not seen in the chat yet
const mine = new Set(); // keys of messages from this page
const timers = { retry: 0, countdown: 0, connect: 0, stable: 0 };

// ---- connection

function connect() {
  stopTimers();
  setStatus("connecting", "connecting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const query = new URLSearchParams({ epoch, after: String(lastID) });
  const ws = new WebSocket(`${scheme}//${location.host}/ws?${query}`);
  socket = ws;
  timers.connect = setTimeout(() => ws.close(), CONNECT_TIMEOUT);
  ws.onmessage = (event) => receive(ws, JSON.parse(event.data));
  ws.onclose = (event) => closed(ws, event);
}

function closed(ws, event) {
  if (ws !== socket) return;
  const wasWelcome = welcomed;
  socket = null;
  welcomed = false;
  stopTimers();
  allowBreaking(false);
  if (wasWelcome) {
    ui.backend.textContent = "–";
    log(`connection closed ${event.code}${event.reason ? ` (${event.reason})` : ""}`, "bad");
  } else {
    log("no connection", "bad");
  }
  const ceiling = failures === 0 ? FIRST_DELAY : Math.min(MAX_DELAY, BASE_DELAY * 2 ** (failures - 1));
  failures++;
  const delay = Math.random() * ceiling;
  const due = Date.now() + delay;
  log(`reconnecting in ${seconds(delay)}`);
  const show = () => setStatus("waiting", `reconnecting in ${seconds(Math.max(0, due - Date.now()))}`);
  show();
  timers.countdown = setInterval(show, 100);
  timers.retry = setTimeout(connect, delay);
}

function stopTimers() {
  clearTimeout(timers.retry);
  clearInterval(timers.countdown);
  clearTimeout(timers.connect);
  clearTimeout(timers.stable);
}

// The network came back: no reason to wait any longer.
addEventListener("online", () => { if (!socket) connect(); });

// ---- messages

function receive(ws, m) {
  if (ws !== socket) return;
  switch (m.type) {
    case "welcome": welcome(m); break;
    case "message": deliver(m); break;
    case "refused":
      log(`message refused: ${m.reason}`, "bad");
      forget(m.key);
      break;
  }
}

function welcome(m) {
  clearTimeout(timers.connect);
  timers.stable = setTimeout(() => { failures = 0; }, STABLE_AFTER);
  welcomed = true;
  if (epoch && epoch !== m.epoch) {
    log("the demo was started again: the chat is empty");
    ui.messages.replaceChildren();
    ui.empty.hidden = false;
    lastID = 0;
  }
  epoch = m.epoch;
  server = `${m.server} (pid ${m.pid})`;
  ui.backend.textContent = `${m.server} · pid ${m.pid}`;
  allowBreaking(true);
  setStatus("connected", "connected");
  log(`connected to ${m.server}`, "good");
  if (m.lost) log(`${m.lost} messages were missed: only the last 50 are kept`, "bad");
  // What was sent before may have been lost with the connection. The hub knows
  // the keys, so that nothing is said twice.
  for (const entry of outbox.values()) transmit(entry);
}

function deliver(m) {
  if (m.id <= lastID) return;
  lastID = m.id;
  forget(m.key);
  const item = messageItem(m.name, m.text, `${clock(new Date(m.time))} · via ${m.server}`, mine.has(m.key));
  item.dataset.id = m.id;
  append(ui.messages, item, MAX_MESSAGES);
}

function say(name, text) {
  const post = { type: "post", key: randomKey(), name, text };
  const item = messageItem(name || "somebody", text, "sending …", true);
  const entry = { post, item };
  mine.add(post.key);
  outbox.set(post.key, entry);
  append(ui.pending, item, Infinity);
  ui.scroller.scrollTop = ui.scroller.scrollHeight;
  transmit(entry);
}

function transmit(entry) {
  if (!welcomed || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify(entry.post));
}

function forget(key) {
  outbox.get(key)?.item.remove();
  outbox.delete(key);
}

// ---- showing; what people typed only ever goes through textContent

function messageItem(name, text, note, own) {
  const item = element("li", own ? "message mine" : "message");
  item.dataset.testid = "message";
  const by = element("p", "by");
  const who = element("bdi");
  who.textContent = name;
  by.append(who, ` · ${note}`);
  const body = element("p", "body");
  body.dir = "auto";
  body.textContent = text;
  item.append(by, body);
  return item;
}

function append(list, item, limit) {
  const s = ui.scroller;
  const atEnd = s.scrollHeight - s.scrollTop - s.clientHeight < 40;
  ui.empty.hidden = true;
  list.append(item);
  while (list.children.length > limit) list.firstChild.remove();
  if (atEnd) s.scrollTop = s.scrollHeight;
}

function log(text, kind = "") {
  const item = element("li");
  const time = element("time");
  time.textContent = clock(new Date(), true);
  const what = element("span", kind);
  what.textContent = text;
  item.append(time, what);
  ui.events.prepend(item); // the newest first: visible without scrolling
  while (ui.events.children.length > MAX_EVENTS) ui.events.lastChild.remove();
}

function setStatus(state, text) {
  // Screen readers announce changes of the state, not every tenth of a second.
  if (ui.status.dataset.state !== state) ui.status.ariaLive = state === "waiting" ? "off" : "polite";
  ui.status.dataset.state = state;
  ui.status.textContent = text;
}

// Not the disabled attribute: it would take the focus from who just pressed
// the button.
function allowBreaking(yes) {
  ui.crash.ariaDisabled = ui.close.ariaDisabled = String(!yes);
}

function element(tag, className = "") {
  const e = document.createElement(tag);
  if (className) e.className = className;
  return e;
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

function clock(date, withSeconds = false) {
  return date.toLocaleTimeString([], {
    hour: "2-digit", minute: "2-digit", second: withSeconds ? "2-digit" : undefined, hour12: false,
  });
}

// Not randomUUID: it is missing where the page came by plain HTTP from
// another machine.
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// ---- input

ui.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = ui.text.value.trim();
  if (!text) return;
  say(ui.name.value.trim(), text);
  ui.text.value = "";
  ui.text.focus();
});

ui.crash.addEventListener("click", () => {
  if (!welcomed) return;
  log(`kill -9 of ${server}`);
  socket.send(JSON.stringify({ type: "crash" }));
});

ui.close.addEventListener("click", () => {
  if (!welcomed) return;
  log("closing the connection");
  socket.close(1000, "closed by the user");
});

// Storage can be forbidden; the name is then forgotten.
try { ui.name.value = localStorage.getItem("name") ?? ""; } catch { /* as said */ }
ui.name.addEventListener("change", () => {
  try { localStorage.setItem("name", ui.name.value.trim()); } catch { /* as said */ }
});

connect();
