// The user interface. Texts of users are only ever displayed with textContent.
import { Connection, randomKey } from "./connection.js";

const MAX_MESSAGES = 500; // on the page
const MAX_EVENTS = 100;
const MAX_ROOMS = 6; // remembered
const TYPING_EVERY = 2000; // ms between two typing events
const TYPING_FOR = 4000; // ms: how long a typing event is displayed

const ui = {};
for (const e of document.querySelectorAll("[id]")) ui[e.id] = e;

// ---- stored settings; they are lost if the browser forbids storage

const stored = (storage, key) => { try { return storage()?.getItem(key) ?? ""; } catch { return ""; } };
const store = (storage, key, value) => { try { storage().setItem(key, value); } catch { /* forbidden */ } };
const local = () => localStorage;
const session = () => sessionStorage; // per tab

const member = stored(session, "member") || randomKey();
store(session, "member", member);
let name = oneLine(stored(local, "name"));
let room = roomOfAddress() || oneLine(stored(local, "room")) || "lobby";

// oneLine cleans a name in the same way as the servers do.
function oneLine(text) {
  const clean = text.toWellFormed().replace(/\p{Cc}/gu, "").trim();
  return [...clean].slice(0, 32).join("").trim();
}

function roomOfAddress() {
  try { return oneLine(decodeURIComponent(location.hash.slice(1))); } catch { return ""; }
}

function rememberedRooms() {
  try {
    const list = JSON.parse(stored(local, "rooms") || "[]");
    return Array.isArray(list) ? list.filter((r) => typeof r === "string") : [];
  } catch { return []; }
}

// ---- the room

const people = new Map(); // member → name
const typists = new Map(); // member → timer
const pending = new Map(); // key → item

const connection = new Connection({ member, name, room }, {
  state: setStatus,
  log,
  server(server) {
    ui.server.textContent = server || "–";
    ui.opened.textContent = connection.opened;
    ui.moved.textContent = connection.moved;
  },
  joined(list) {
    people.clear();
    for (const p of list) people.set(p.member, p.name);
    showPeople();
  },
  message(m) {
    stoppedTyping(m.post.member);
    const item = messageItem(m.post.name, m.post.text, `${clock(new Date(m.time))} · via ${m.post.server}`, m.post.member === member);
    item.dataset.id = m.id;
    append(ui.messages, item);
    while (ui.messages.children.length > MAX_MESSAGES) ui.messages.firstChild.remove();
  },
  gap() {
    const item = element("li", "gap");
    item.textContent = "messages are missing here";
    append(ui.messages, item);
  },
  here(p) {
    people.set(p.member, p.name);
    showPeople();
  },
  gone(p) {
    people.delete(p.member);
    stoppedTyping(p.member);
    showPeople();
  },
  typing(p) {
    if (p.member === member) return;
    people.set(p.member, p.name);
    clearTimeout(typists.get(p.member));
    typists.set(p.member, setTimeout(() => stoppedTyping(p.member), TYPING_FOR));
    showTyping();
  },
  sent(key) {
    pending.get(key)?.remove();
    pending.delete(key);
  },
});

showPlace();

function showPlace() {
  ui.name.value = name;
  ui.room.value = room;
  ui.title.textContent = `# ${room}`;
  document.title = `${room} – chat`;
  store(local, "name", name);
  store(local, "room", room);
  const hash = "#" + encodeURIComponent(room);
  if (roomOfAddress() !== room) history.replaceState(null, "", hash);
  const rooms = [room, ...rememberedRooms().filter((r) => r !== room)].slice(0, MAX_ROOMS);
  store(local, "rooms", JSON.stringify(rooms));
  ui.rooms.replaceChildren(...rooms.sort().map((r) => {
    const item = element("li");
    const link = element("a");
    link.href = "#" + encodeURIComponent(r);
    link.textContent = r;
    if (r === room) link.ariaCurrent = "page";
    item.append(link);
    return item;
  }));
}

function go(newName, newRoom) {
  if (newName === name && newRoom === room) return showPlace(); // display the cleaned names
  if (newRoom !== room) {
    ui.messages.replaceChildren();
    ui.empty.hidden = false;
    for (const who of [...typists.keys()]) stoppedTyping(who);
    people.clear();
    showPeople();
  }
  [name, room] = [newName, newRoom];
  connection.go(name, room);
  showPlace();
}

// post reports whether the text will be sent.
function post(text) {
  let key;
  try {
    key = connection.post(text);
  } catch (error) {
    log(`not sent: ${error.message}`, "bad");
    return false;
  }
  const item = messageItem(name || "somebody", text, "sending …", true);
  pending.set(key, item);
  ui.pending.append(item);
  ui.empty.hidden = true;
  ui.scroller.scrollTop = ui.scroller.scrollHeight;
  return true;
}

// ---- showing

function messageItem(by, text, note, own) {
  const item = element("li", own ? "message mine" : "message");
  item.dataset.testid = "message";
  const head = element("p", "by");
  const who = element("bdi");
  who.textContent = by;
  head.append(who, ` · ${note}`);
  const body = element("p", "body");
  body.dir = "auto";
  body.textContent = text;
  item.append(head, body);
  return item;
}

// append scrolls to the new item only if the list was scrolled to its end.
function append(list, item) {
  const s = ui.scroller;
  const atEnd = s.scrollHeight - s.scrollTop - s.clientHeight < 40;
  ui.empty.hidden = true;
  list.append(item);
  if (atEnd) s.scrollTop = s.scrollHeight;
}

function showPeople() {
  const sorted = [...people].sort(([, a], [, b]) => a.localeCompare(b));
  ui.count.textContent = sorted.length;
  ui.people.replaceChildren(...sorted.map(([id, called]) => {
    const item = element("li", id === member ? "me" : "");
    const who = element("bdi");
    who.textContent = called;
    item.append(who, id === member ? " (you)" : "");
    return item;
  }));
}

function stoppedTyping(who) {
  clearTimeout(typists.get(who));
  if (typists.delete(who)) showTyping();
}

function showTyping() {
  const names = [...typists.keys()].map((who) => people.get(who) ?? "somebody");
  ui.typing.textContent = names.length === 0 ? "" : names.length > 3 ? "several people are typing …"
    : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing …`;
}

function log(text, kind = "") {
  const item = element("li");
  const time = element("time");
  time.textContent = clock(new Date(), true);
  const what = element("span", kind);
  what.textContent = text;
  item.append(time, what);
  ui.events.prepend(item); // newest first, visible without scrolling
  while (ui.events.children.length > MAX_EVENTS) ui.events.lastChild.remove();
}

function setStatus(state, text) {
  // Screen readers announce changes of the state, not every tenth of a second.
  if (ui.status.dataset.state !== state) ui.status.ariaLive = state === "waiting" ? "off" : "polite";
  ui.status.dataset.state = state;
  ui.status.textContent = text;
}

function element(tag, className = "") {
  const e = document.createElement(tag);
  if (className) e.className = className;
  return e;
}

function clock(date, withSeconds = false) {
  return date.toLocaleTimeString([], {
    hour: "2-digit", minute: "2-digit", second: withSeconds ? "2-digit" : undefined, hour12: false,
  });
}

// ---- input

let typingDue = 0; // when the next typing event may be sent

ui.text.addEventListener("input", () => {
  if (Date.now() < typingDue || !ui.text.value.trim()) return;
  typingDue = Date.now() + TYPING_EVERY;
  connection.typing();
});

ui.text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ui.composer.requestSubmit();
});

ui.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = ui.text.value.trim();
  if (!text || !post(text)) return;
  ui.text.value = "";
  typingDue = 0;
  ui.text.focus();
});

ui.place.addEventListener("submit", (event) => {
  event.preventDefault();
  go(oneLine(ui.name.value), oneLine(ui.room.value) || room);
  ui.text.focus();
});

addEventListener("hashchange", () => go(name, roomOfAddress() || room));
