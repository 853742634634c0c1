"use strict";
// The chat server of docs/chat.md in Node. It shows what a server must do so that
// its sessions can move to other servers. It can share a pool with the Go servers
// of ../chat.
//
//   node server.js --port 3001 --redis redis://localhost:6379 --name node-1
//
// Unlike the Go server, it doesn't limit how fast a page may post.

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
    notice: { type: "string", default: "15" }, // s: more than the balancer's health.interval plus health.timeout
  },
});
const SPREAD = 8_000; // ms: closes are spread over this time
const ANSWER_TIME = 2_000; // ms: time for the answers to the last of them
const MAX_SESSIONS = 10_000;
const MAX_UNSENT = 1 << 20; // bytes: what may wait for a page that doesn't read
const SESSION_TTL = 3600; // s: how long a session is remembered after its end

const rooms = new Rooms(flags.redis);
const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 << 10 });
let draining = false; // health checks are answered with 503
let balancerKnows = false; // a health check was answered with 503
let closing = false; // handshakes are refused

const server = http.createServer((request, response) => {
  if (request.url !== "/health") return servePage(request, response);
  balancerKnows = draining;
  response.setHeader("Holdfast-Load", (sockets.clients.size / MAX_SESSIONS).toFixed(3));
  response.writeHead(draining ? 503 : 200).end(draining ? "draining\n" : "ok\n");
});

// Ask the balancer for a notice before a session leaves, and after one has arrived.
sockets.on("headers", (headers, request) => {
  if (request.headers["holdfast-control"] === "1") headers.push("Holdfast-Control: 1");
});

// The state of a session is in Redis, where all servers can read it.
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
  // A server that is draining shouldn't take over sessions of another.
  if (closing || (draining && why) || sockets.clients.size >= MAX_SESSIONS) return refuse(503);
  let membership = null; // in a room
  try {
    const who = why && await load(session);
    if (why && !who) return refuse(404); // the balancer asks another server
    if (why) membership = await rooms.join(who); // before the other server leaves, so that nobody sees it go
  } catch {
    return refuse(503);
  }
  let ws = null;
  sockets.handleUpgrade(request, socket, head, (it) => (ws = it));
  if (ws) serve(ws, request.headers, membership);
  else membership?.leave();
});

// serve handles one session. If it comes from another server, why is the reason,
// and membership is its membership in the room.
function serve(ws, { "holdfast-session": session, "holdfast-reattach": why, "holdfast-control": notices }, membership) {
  let who = null; // { member, name, room }
  const send = (text) => (ws.bufferedAmount > MAX_UNSENT ? ws.close(1013, "too slow") : ws.send(text));
  const say = (type, fields) => send(JSON.stringify({ type, ...fields }));

  // deliver sends what happens in the room. After a gap the session is stored again:
  // if Redis has lost messages, it may have lost the session too.
  function deliver(text) {
    if (ws.readyState !== ws.OPEN) return; // it may be on another server by now
    if (text === GAP && session) save(session, who).catch(() => {});
    send(text);
  }

  async function join(since) {
    if (JSON.stringify(membership?.who) !== JSON.stringify(who)) {
      membership?.leave();
      membership = null;
      membership = await rooms.join(who);
    }
    await membership.start(since, 50, deliver);
  }

  async function post({ key, text, fault }) {
    if (fault) return say("refused", { key, reason: fault });
    const { member, name, room } = who;
    await rooms.publish(room, `${member}/${key}`, member, JSON.stringify({ key, member, name, text, server: flags.name }))
      .catch(() => say("refused", { key, reason: "messages can't be stored now", retry: true }));
  }

  async function answer(request) {
    if (request.type === "join") {
      who = request.who;
      if (session) await save(session, who); // before the page is told that it has joined
      return join(request.since);
    }
    if (why) who ??= await load(session); // not earlier: now the other server has stored the final state
    if (!who) throw new Violation("join comes first");
    switch (request.type) {
      case "resume": return join(request.since);
      case "post": return post(request);
      case "typing":
        return rooms.notify(who.room, JSON.stringify({ type: "typing", member: who.member, name: who.name }));
    }
    throw new Violation("unknown message type");
  }

  // Requests are handled one after another. Closing is queued too, so it happens
  // after everything that the page has asked for.
  let last = Promise.resolve();
  const then = (step) => {
    last = last.then(step).catch((error) => {
      if (error instanceof Violation) ws.close(1008, error.message);
      else ws.close(1013, "try again later"); // Redis is unreachable
    });
  };
  ws.leave = (code, reason) => then(() => ws.close(code, reason)); // ws waits for the client's Close
  const hello = () => say("hello", { server: flags.name, session, reattach: why });
  const touching = setInterval(() => session && touch(session).catch(() => {}), SESSION_TTL * 300);
  ws.on("message", (data, isBinary) => then(() => answer(parse(data, isBinary))));
  ws.on("ping", (payload) => { // ws sends the pong
    if (String(payload) === "holdfast leave") ws.leave(1012, "session moved"); // the balancer sends nothing more
    if (String(payload) === "holdfast begin") then(hello); // the other server has finished
  });
  ws.on("error", () => {}); // "close" follows
  ws.on("close", () => {
    clearInterval(touching);
    then(() => membership?.leave());
  });
  if (!why || notices !== "1") hello(); // a balancer without notices holds it back until the old server has finished
}

async function waitFor(ms, done) {
  for (const end = Date.now() + ms; Date.now() < end && !done(); ) await sleep(50);
}

process.on("SIGTERM", async () => {
  if (draining) process.exit(1); // a second signal
  draining = true;
  const empty = () => sockets.clients.size === 0;
  await waitFor(flags.notice * 1000, () => balancerKnows && empty());
  closing = true;
  const all = [...sockets.clients];
  for (const [i, ws] of all.entries()) {
    if (i > 0) await sleep(SPREAD / all.length);
    ws.leave(1001, "server is going away");
  }
  await waitFor(ANSWER_TIME, empty);
  await Promise.race([rooms.close(), sleep(ANSWER_TIME)]).catch(() => {});
  process.exit(empty() ? 0 : 1);
});

rooms.open().then(() => server.listen(flags.port, () => console.log(`listening on port ${server.address().port}`)));
