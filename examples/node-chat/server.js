"use strict";
// The chat server of docs/chat.md in Node: what a server has to do so that its
// sessions outlive it. It goes in one pool with the Go servers of ../chat.
//
//   node server.js --port 3001 --redis redis://localhost:6379 --name node-1
//
// It leaves out what the Go server does against pages that post too fast.

const http = require("http");
const { setTimeout: sleep } = require("timers/promises");
const { parseArgs } = require("util");
const { WebSocketServer } = require("ws");
const { servePage } = require("./page");
const { Rooms } = require("./rooms");

const { values: flags } = parseArgs({
  options: {
    port: { type: "string", default: "3001" },
    redis: { type: "string", default: "redis://localhost:6379" },
    name: { type: "string", default: "node-chat" },
    notice: { type: "string", default: "15" }, // s: the balancer's health.interval and timeout, and a little more
  },
});
const SPREAD = 8_000; // ms: closes are spread over this time
const REST = 2_000; // ms: for the answers to the last of them
const MAX_SESSIONS = 10_000;
const MAX_UNSENT = 1 << 20; // bytes that wait for a page which doesn't read
const SESSION_TTL = 3600; // s: how long a session is known that has ended

let draining = false; // health says 503
let told = false; // and somebody has heard it
let closing = false; // no more handshakes

const rooms = new Rooms(flags.redis);
const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 << 10 });

const server = http.createServer((request, response) => {
  if (request.url !== "/health") return servePage(request, response);
  told = draining;
  response.setHeader("Holdfast-Load", (sockets.clients.size / MAX_SESSIONS).toFixed(3));
  response.writeHead(draining ? 503 : 200).end(draining ? "draining\n" : "ok\n");
});

server.on("upgrade", async (request, socket, head) => {
  socket.on("error", () => {}); // it closes then
  const { origin, host, "holdfast-session": session, "holdfast-reattach": why } = request.headers;
  const refuse = (status) => socket.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`);
  if (request.url.split("?", 1)[0] !== "/ws") return refuse(404);
  if (origin && (!URL.canParse(origin) || new URL(origin).host !== host)) return refuse(403); // another site's page
  // What another server gives away, this one shouldn't take on its way out.
  if (closing || (draining && why) || sockets.clients.size >= MAX_SESSIONS) return refuse(503);
  let place = null; // in a room
  if (why) {
    try {
      const who = await load(session);
      if (!who) return refuse(404); // the balancer asks another server
      // Before the other server leaves it, so that nobody sees the session go.
      place = await rooms.enter(who);
    } catch {
      return refuse(503);
    }
  }
  let served = false;
  sockets.handleUpgrade(request, socket, head, (ws) => {
    served = true;
    serve(ws, session, why, place);
  });
  if (!served) place?.leave();
});

// What a server has to know of a session is kept where all servers find it.
const load = async (session) => JSON.parse(await rooms.redis.get("chat:session:" + session));
const save = (session, who) => rooms.redis.set("chat:session:" + session, JSON.stringify(who), { EX: SESSION_TTL });
const touch = (session) => rooms.redis.expire("chat:session:" + session, SESSION_TTL);

const failure = (code, reason) => Object.assign(new Error(reason), { code });

// serve is one session. If it comes from another server, why says for what
// reason, and it has its place in the room already.
function serve(ws, session, why, place) {
  let who = null; // { member, name, room }
  const send = (text) => (ws.bufferedAmount > MAX_UNSENT ? ws.close(1013, "too slow") : ws.send(text));

  async function enter(since) {
    if (["member", "name", "room"].some((field) => place?.who[field] !== who[field])) {
      place?.leave();
      place = null;
      place = await rooms.enter(who);
    }
    await place.start(since, 50, send);
  }

  const requests = {
    async join(request) {
      who = clean(request);
      if (session) await save(session, who); // before the page is told that it is so
      await enter(request.since);
    },
    resume: (request) => enter(request.since),
    async post({ key, text }) {
      text = typeof text === "string" ? withoutControls(text, "\n\t").trim() : "";
      const refuse = (reason, retry) => send(JSON.stringify({ type: "refused", key, reason, retry }));
      if (!isText(key, 64) || !text || [...text].length > 2000) return refuse("a message has 1 to 2000 characters, and a key");
      const post = { key, member: who.member, name: who.name, text, server: flags.name };
      await rooms.publish(who.room, `${who.member}/${key}`, JSON.stringify(post))
        .catch(() => refuse("messages can't be stored now", true));
    },
    async typing() {
      const { member, name } = who;
      await rooms.notify(who.room, JSON.stringify({ type: "typing", member, name })).catch(() => {});
    },
  };

  async function answer(data, isBinary) {
    const request = isBinary ? null : parse(data);
    if (!Object.hasOwn(requests, request?.type)) throw failure(1008, "unknown message type");
    if (!who && request.type !== "join") {
      if (!why) throw failure(1008, "join comes first");
      who = await load(session); // not before: by now the other server has said and saved its last
    }
    await requests[request.type](request);
  }

  // One request after another. ws answers a Close at once, though: what came
  // just before it may be done a moment later.
  let last = Promise.resolve();
  const then = (next) => {
    last = last.then(next).catch((error) => {
      if (error.code === 1008) ws.close(1008, error.message);
      else ws.close(1013, "try again later"); // Redis is away
    });
  };
  const touching = setInterval(() => session && touch(session).catch(() => {}), SESSION_TTL * 300);
  ws.on("message", (data, isBinary) => then(() => answer(data, isBinary)));
  ws.on("error", () => {}); // "close" follows
  ws.on("close", () => {
    clearInterval(touching);
    then(() => place?.leave());
  });
  send(JSON.stringify({ type: "hello", server: flags.name, session, reattach: why }));
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

const isText = (s, max) => typeof s === "string" && s.length > 0 && Buffer.byteLength(s) <= max;
const withoutControls = (s, keep = "") => s.toWellFormed().replace(/\p{Cc}/gu, (c) => (keep.includes(c) ? c : ""));

// clean is who, as it may be shown to others.
function clean({ member, name, room }) {
  [name, room] = [name, room].map((s) => (typeof s === "string" ? withoutControls(s).trim() : ""));
  const short = (s) => [...s].length <= 32;
  if (!isText(member, 64) || !room || !short(room) || !short(name)) throw failure(1008, "member, name or room is missing or too long");
  return { member: member.toWellFormed(), name: name || "somebody", room };
}

async function waitFor(ms, done) {
  for (const end = Date.now() + ms; Date.now() < end && !done(); ) await sleep(50);
}

process.on("SIGTERM", async () => {
  if (draining) process.exit(1); // a second one
  draining = true;
  const empty = () => sockets.clients.size === 0;
  await waitFor(flags.notice * 1000, () => told && empty());
  closing = true;
  const all = [...sockets.clients];
  for (const ws of all) {
    ws.close(1001, "server is going away"); // ws awaits the answer
    await sleep(SPREAD / all.length);
  }
  await waitFor(REST, empty);
  await Promise.race([rooms.close(), sleep(REST)]).catch(() => {});
  process.exit(empty() ? 0 : 1);
});

rooms.open().then(() => server.listen(flags.port, () => console.log(`listening on port ${server.address().port}`)));
