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
const { parse, Violation } = require("./protocol");
const { GAP, Rooms } = require("./rooms");

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

const rooms = new Rooms(flags.redis);
const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 << 10 });
let draining = false; // health says 503
let told = false; // and somebody has heard it
let closing = false; // no more handshakes

const server = http.createServer((request, response) => {
  if (request.url !== "/health") return servePage(request, response);
  told = draining;
  response.setHeader("Holdfast-Load", (sockets.clients.size / MAX_SESSIONS).toFixed(3));
  response.writeHead(draining ? 503 : 200).end(draining ? "draining\n" : "ok\n");
});

// What a server has to know of a session is kept where all servers find it.
const keyOf = (session) => "chat:session:" + session;
const load = async (session) => JSON.parse(await rooms.redis.get(keyOf(session)));
const save = (session, who) => rooms.redis.set(keyOf(session), JSON.stringify(who), { EX: SESSION_TTL });
const touch = (session) => rooms.redis.expire(keyOf(session), SESSION_TTL);

server.on("upgrade", async (request, socket, head) => {
  socket.on("error", () => {}); // it closes then
  const { origin, host, "holdfast-session": session, "holdfast-reattach": why } = request.headers;
  const refuse = (status) => socket.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`);
  if (request.url.split("?", 1)[0] !== "/ws") return refuse(404);
  if (origin && (!URL.canParse(origin) || new URL(origin).host !== host)) return refuse(403); // another site's page
  // What another server gives away, this one shouldn't take on its way out.
  if (closing || (draining && why) || sockets.clients.size >= MAX_SESSIONS) return refuse(503);
  let place = null; // in a room
  try {
    const who = why && await load(session);
    if (why && !who) return refuse(404); // the balancer asks another server
    if (why) place = await rooms.enter(who); // before the other server leaves, so that nobody sees the session go
  } catch {
    return refuse(503);
  }
  let ws = null;
  sockets.handleUpgrade(request, socket, head, (it) => (ws = it));
  if (ws) serve(ws, session, why, place);
  else place?.leave();
});

// serve is one session. If it comes from another server, why says for what
// reason, and it has its place in the room already.
function serve(ws, session, why, place) {
  let who = null; // { member, name, room }
  const send = (text) => (ws.bufferedAmount > MAX_UNSENT ? ws.close(1013, "too slow") : ws.send(text));
  const say = (type, fields) => send(JSON.stringify({ type, ...fields }));

  // deliver sends what comes of the room. What has lost messages may have lost
  // the session too.
  function deliver(text) {
    if (text === GAP && session) save(session, who).catch(() => {});
    send(text);
  }

  async function enter(since) {
    if (JSON.stringify(place?.who) !== JSON.stringify(who)) {
      place?.leave();
      place = null;
      place = await rooms.enter(who);
    }
    await place.start(since, 50, deliver);
  }

  async function post({ key, text, fault }) {
    if (fault) return say("refused", { key, reason: fault });
    const { member, name, room } = who;
    await rooms.publish(room, `${member}/${key}`, JSON.stringify({ key, member, name, text, server: flags.name }))
      .catch(() => say("refused", { key, reason: "messages can't be stored now", retry: true }));
  }

  async function answer(request) {
    if (request.type === "join") {
      who = request.who;
      if (session) await save(session, who); // before the page is told that it is so
      return enter(request.since);
    }
    if (why) who ??= await load(session); // not before: by now the other server has said and saved its last
    if (!who) throw new Violation("join comes first");
    switch (request.type) {
      case "resume": return enter(request.since);
      case "post": return post(request);
      case "typing":
        return rooms.notify(who.room, JSON.stringify({ type: "typing", member: who.member, name: who.name }));
    }
    throw new Violation("unknown message type");
  }

  // One step after another. ws answers a Close at once, though: what came just
  // before it may be done a moment later.
  let last = Promise.resolve();
  const then = (step) => {
    last = last.then(step).catch((error) => {
      if (error instanceof Violation) ws.close(1008, error.message);
      else ws.close(1013, "try again later"); // Redis is away
    });
  };
  const touching = setInterval(() => session && touch(session).catch(() => {}), SESSION_TTL * 300);
  ws.on("message", (data, isBinary) => then(() => answer(parse(data, isBinary))));
  ws.on("error", () => {}); // "close" follows
  ws.on("close", () => {
    clearInterval(touching);
    then(() => place?.leave());
  });
  say("hello", { server: flags.name, session, reattach: why });
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
  for (const [i, ws] of all.entries()) {
    if (i > 0) await sleep(SPREAD / all.length);
    ws.close(1001, "server is going away"); // ws awaits the answer
  }
  await waitFor(REST, empty);
  await Promise.race([rooms.close(), sleep(REST)]).catch(() => {});
  process.exit(empty() ? 0 : 1);
});

rooms.open().then(() => server.listen(flags.port, () => console.log(`listening on port ${server.address().port}`)));
