"use strict";
// The page of the board. It uses the stock client of socket.io, and knows nothing about
// servers that change: it counts what it would notice.

/* global io */

const ANSWER_TIME = 5000; // ms
const WHERE_EVERY = 500; // ms
const POLL_EVERY = 700; // ms
const MAX_POLL = 15_000; // ms, while nobody answers
const STEP = 10; // of the pen, by the keyboard
const WIDTH = 1000, HEIGHT = 600; // of the drawing
const LIGHT = ["#2456c9", "#b3261e", "#146c3a", "#8a5200", "#7a2da8", "#00696f"];
const DARK = ["#8fb1ff", "#ff9a92", "#6fd598", "#f0b45c", "#d6a5ff", "#6ad7df"];

const $ = (id) => document.getElementById(id);
const counts = { disconnects: 0, answered: 0, unanswered: 0, slowest: 0, asked: 0, moves: 0 };
const seen = new Set(); // "by/n" of the items here
const lines = []; // numbers of each line of the drawing
const colour = Math.floor(Math.random() * LIGHT.length);
let server = ""; // that serves this page
let added = 0; // number of the last item of this page

let place = { name: localStorage.boardName ?? `guest-${100 + Math.floor(Math.random() * 900)}`, room: roomOfUrl() };

function roomOfUrl() {
  try {
    return decodeURIComponent(location.hash.slice(1)).slice(0, 32) || "lobby";
  } catch {
    return "lobby";
  }
}

// ---- the connection

const socket = io({ withCredentials: true });

socket.on("connect", () => {
  status("connected");
  $("id").textContent = socket.id;
  join();
});
socket.on("disconnect", (reason) => {
  counts.disconnects++;
  status("disconnected", `disconnected: ${reason}`);
});
socket.on("connect_error", (error) => status("disconnected", `not connected: ${error.message}`));
socket.on("added", show);
socket.on("alive", (answer) => { counts.asked++; answer(); });

function status(state, text = state) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

// ask sends an event and returns the answer. It asks again if there is none, which happens
// only if a server was killed with the question, or with the answer.
async function ask(event, ...args) {
  for (;;) {
    const began = performance.now();
    try {
      const answer = await socket.timeout(ANSWER_TIME).emitWithAck(event, ...args);
      counts.answered++;
      counts.slowest = Math.max(counts.slowest, performance.now() - began);
      at(answer.server);
      return answer;
    } catch {
      counts.unanswered++;
    }
  }
}

function at(name) {
  if (server && server !== name) counts.moves++;
  server = name;
}

async function join() {
  const { items } = await ask("join", place);
  for (const item of items) show({ ...item, ink: item.ink && bytesOf(item.ink) });
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;

const add = (item) => ask("add", { n: ++added, ...item });

setInterval(() => socket.connected && ask("where"), WHERE_EVERY);

setInterval(() => {
  $("server").textContent = server || "–";
  $("transport").textContent = socket.io.engine?.transport?.name ?? "–";
  for (const [name, n] of Object.entries(counts)) $(name).textContent = name === "slowest" ? `${Math.round(n)} ms` : n;
  for (const name of ["disconnects", "unanswered"]) $(name).toggleAttribute("data-bad", counts[name] > 0);
}, 200);

// ---- notes and drawing

function show(item) {
  const id = `${item.by}/${item.n}`;
  if (seen.has(id)) return;
  seen.add(id);
  if (item.ink) {
    const line = new Uint16Array(item.ink);
    lines.push(line);
    draw(line);
  } else {
    const li = document.createElement("li");
    const by = Object.assign(document.createElement("b"), { textContent: item.name });
    const from = Object.assign(document.createElement("span"), { className: "soft", textContent: ` by way of ${item.server}` });
    li.append(by, `: ${item.text}`, from);
    const scroller = $("scroller");
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    $("notes").append(li);
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text) add({ text });
  $("text").value = "";
});

const canvas = $("canvas");
const context = canvas.getContext("2d");
const dark = matchMedia("(prefers-color-scheme: dark)");

function draw([number, ...points]) {
  context.strokeStyle = context.fillStyle = (dark.matches ? DARK : LIGHT)[number % LIGHT.length];
  context.lineWidth = 4;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(points[0], points[1]);
  for (let i = 0; i < points.length; i += 2) context.lineTo(points[i], points[i + 1]);
  context.stroke();
}

function redraw() {
  context.clearRect(0, 0, WIDTH, HEIGHT);
  lines.forEach(draw);
}
dark.addEventListener("change", redraw);

// A line is sent in pieces while it is drawn. Each begins where the one before ended.
let line = null; // the piece that isn't sent yet
function extend(x, y) {
  line.push(Math.round(Math.min(Math.max(x, 0), WIDTH)), Math.round(Math.min(Math.max(y, 0), HEIGHT)));
}
function send() {
  if (!line || line.length < 4) return;
  const piece = new Uint16Array([colour, ...line]);
  draw(piece);
  add({ ink: piece.buffer });
  line = line.slice(-2);
}
setInterval(send, 80);

const position = ({ offsetX, offsetY }) => [offsetX / canvas.clientWidth * WIDTH, offsetY / canvas.clientHeight * HEIGHT];
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  line = [];
  extend(...position(event));
});
canvas.addEventListener("pointermove", (event) => line && !pen.down && extend(...position(event)));
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => { send(); line = null; });
}

const pen = { x: WIDTH / 2, y: HEIGHT / 2, down: false };
const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  const arrow = arrows[event.key];
  if (!arrow && event.key !== " ") return;
  event.preventDefault();
  if (arrow) {
    pen.x = Math.min(Math.max(pen.x + STEP * arrow[0], 0), WIDTH);
    pen.y = Math.min(Math.max(pen.y + STEP * arrow[1], 0), HEIGHT);
  } else {
    lift(!pen.down);
  }
  if (pen.down) extend(pen.x, pen.y);
  showPen(true);
});
canvas.addEventListener("focus", () => showPen(canvas.matches(":focus-visible")));
canvas.addEventListener("blur", () => { lift(false); showPen(false); });

function lift(down) {
  if (!down) send();
  pen.down = down;
  line = down ? [] : null;
}
function showPen(visible) {
  $("pen").hidden = !visible;
  $("pen").toggleAttribute("data-down", pen.down);
  Object.assign($("pen").style, { left: `${100 * pen.x / WIDTH}%`, top: `${100 * pen.y / HEIGHT}%` });
}

// ---- who and where

function showPlace() {
  $("title").textContent = place.room;
  $("name").value = place.name;
  $("room").value = place.room;
}
function go(next) {
  const other = next.room !== place.room;
  place = next;
  localStorage.boardName = place.name;
  showPlace();
  if (other) {
    seen.clear();
    lines.length = 0;
    redraw();
    $("notes").replaceChildren();
  }
  if (socket.connected) join();
}
$("place").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ name: $("name").value.trim() || place.name, room: $("room").value.trim() || "lobby" });
  location.hash = encodeURIComponent(place.room);
});
addEventListener("hashchange", () => { if (roomOfUrl() !== place.room) go({ ...place, room: roomOfUrl() }); });
showPlace();

// ---- the servers

const buttons = [
  ["drain", "Drain", (state) => state === "serving"],
  ["restart", "Restart", (state) => ["serving", "drained"].includes(state)],
  ["kill", "Kill -9", (state) => state !== "down"],
];
const rows = new Map();

function rowOf(name) {
  if (rows.has(name)) return rows.get(name);
  const row = document.createElement("li");
  row.dataset.server = name;
  const text = document.createElement("p");
  text.append(Object.assign(document.createElement("strong"), { textContent: name }), ...["what", "pid soft", "sessions"].map((className) =>
    Object.assign(document.createElement("span"), { className })));
  row.append(text, ...buttons.map(([action, label]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.dataset.testid = action;
    button.addEventListener("click", () => act(button, name));
    return button;
  }));
  $("servers").append(row);
  rows.set(name, row);
  return row;
}

function showServers(servers) {
  for (const { name, state, pid, sessions } of servers) {
    const row = rowOf(name);
    row.dataset.state = state;
    row.querySelector(".what").textContent = state;
    row.querySelector(".pid").textContent = `pid ${pid}`;
    row.querySelector(".sessions").textContent = `sessions ${sessions}`;
    buttons.forEach(([action, label, can], i) => {
      const button = row.querySelectorAll("button")[i];
      const undo = action === "drain" && state === "drained";
      button.dataset.action = undo ? "undrain" : action;
      button.textContent = undo ? "Undrain" : label;
      button.ariaLabel = `${button.textContent} ${name}`;
      button.ariaDisabled = undo || can(state) ? null : "true"; // a disabled button would lose the focus
    });
  }
}

async function act(button, name) {
  if (button.ariaDisabled) return;
  try {
    const answer = await fetch(`/demo/${button.dataset.action}?server=${encodeURIComponent(name)}`, { method: "POST" });
    if (!answer.ok) throw new Error((await answer.json()).error);
    say(`${button.ariaLabel}: done.`);
  } catch (error) {
    say(`${button.ariaLabel}: ${error.message}`, true);
  }
  poll();
}

function say(text, bad = false) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", bad);
}

let timer = 0;
let pause = POLL_EVERY;
async function poll() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/demo/status", { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    showServers(await answer.json());
    pause = POLL_EVERY;
  } catch {
    if (rows.size === 0) say("There are buttons here if the board was started with npm start.");
    pause = Math.min(2 * pause, MAX_POLL);
  }
  timer = setTimeout(poll, pause);
}
poll();
