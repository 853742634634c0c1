"use strict";
// What the tests share: Redis, servers, and clients that speak for the balancer, too.

const { spawn } = require("child_process");
const { once } = require("events");
const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const { setTimeout: sleep } = require("timers/promises");
const { createClient } = require("redis");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { WebSocket } = require("ws");
const { reattach } = require("..");

// until waits for a condition.
async function until(what, condition) {
  for (let i = 0; i < 3000; i++) {
    const value = await condition();
    if (value) return value;
    await sleep(10);
  }
  throw new Error(`not ${what} within 30 s`);
}

// startRedis starts a redis-server on a Unix socket of its own.
async function startRedis(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "hf-"));
  const socket = path.join(folder, "redis.sock");
  const server = spawn("redis-server", ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""], { stdio: "ignore" });
  const clients = [];
  const closing = []; // what servers do at the end of the test
  t.after(async () => {
    for (const close of closing) await close();
    for (const client of clients) client.destroy();
    server.kill("SIGKILL");
    await once(server, "exit");
    fs.rmSync(folder, { recursive: true });
  });
  await until("a socket of Redis", () => fs.existsSync(socket));
  const connect = async () => {
    const client = createClient({ socket: { path: socket } }).on("error", () => {});
    const { duplicate } = client;
    client.duplicate = (...args) => {
      const copy = duplicate.apply(client, args);
      clients.push(copy);
      return copy;
    };
    clients.push(client);
    await client.connect();
    return client;
  };
  return { connect, closing, process: server, path: socket };
}

// startServer starts a server of Socket.IO. setup gets io before reattach.
async function startServer(redis, { setup = () => {}, serverOptions = {}, ...options } = {}) {
  const client = await redis.connect();
  const server = http.createServer((request, response) => response.writeHead(404).end());
  const io = new Server(server, { adapter: createAdapter(client), ...serverOptions });
  const events = []; // of its sockets and of reattach
  const log = (nsp) => nsp.on("connection", (socket) => {
    events.push({ event: "connection", socket });
    socket.on("disconnect", (reason) => events.push({ event: "disconnect", socket, reason }));
  });
  log(io);
  setup(io);
  const moves = reattach(io, { redis: client, ...options });
  const warnings = [];
  moves.on("warning", (error) => warnings.push(error.message));
  moves.on("reattach", (socket, info) => events.push({ event: "reattach", socket, ...info }));
  await moves.ready;
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  redis.closing.push(() => moves.shutdown({ notice: 0, spread: 0, callbacks: 0 }));
  return { io, moves, events, warnings, log, port: server.address().port, client };
}

// Peer is the balancer's connection to a server, with what it gets.
class Peer {
  constructor(server, session, headers = {}, query = "") {
    this.got = [];
    this.pongs = [];
    this.ws = new WebSocket(`ws://127.0.0.1:${server.port}/socket.io/?EIO=4&transport=websocket${query}`, {
      headers: { "Holdfast-Session": session, "Holdfast-Control": "1", ...headers },
    });
    this.ws.on("message", (data, binary) => this.got.push(binary ? data : String(data)));
    this.ws.on("pong", (data) => this.pongs.push(String(data)));
    this.ended = new Promise((done) => this.ws.on("close", (code) => done(code)));
    this.answer = new Promise((done) => {
      this.ws.on("upgrade", (response) => done(response));
      this.ws.on("unexpected-response", (request, response) => done(response));
      this.ws.on("error", () => {});
    });
  }

  send(...messages) {
    for (const message of messages) this.ws.send(message);
  }

  // find waits for a message that begins with text or is equal to a Buffer, and returns it.
  find(text) {
    const matches = (m) => (typeof text === "string" ? typeof m === "string" && m.startsWith(text) : Buffer.isBuffer(m) && m.equals(text));
    return until(`got ${text} but ${JSON.stringify(this.got)}`, () => this.got.find(matches));
  }

  async ping(payload) {
    this.ws.ping(payload);
    await until("a pong", () => this.pongs.includes(payload));
  }
}

let sessions = 0;

// open opens a session with a client in the main namespace.
async function open(t, server, auth = {}, headers = {}) {
  const session = `session${++sessions}`;
  const peer = new Peer(server, session, headers);
  t.after(() => peer.ws.terminate());
  await peer.find("0{");
  peer.send(`40${JSON.stringify(auth)}`);
  await peer.find("40{");
  await until("stored", () => stored(server, session).then((s) => s && s.sockets.length > 0));
  return { session, peer };
}

async function stored(server, session) {
  const text = await server.client.hGet(`holdfast:sio:session:${session}`, "s");
  return text && require("../lib/core").unpack(text);
}

// takeOver asks a server to take over a session.
async function takeOver(t, server, session, { reason = "drain", move = 1 } = {}) {
  const peer = new Peer(server, session, { "Holdfast-Reattach": reason, "Holdfast-From": "old", "Holdfast-Move": String(move) });
  t.after(() => peer.ws.terminate());
  peer.status = (await peer.answer).statusCode;
  return peer;
}

// move does what the balancer does on a drain.
async function move(t, peer, server, session, number = 1) {
  const next = await takeOver(t, server, session, { move: number });
  if (next.status !== 101) throw new Error(`the new server answered ${next.status}`);
  peer.ws.ping("holdfast leave");
  const code = await peer.ended;
  if (code !== 1012) throw new Error(`the old server closed with ${code}`);
  await next.ping("holdfast begin");
  return next;
}

module.exports = { until, sleep, startRedis, startServer, Peer, open, stored, takeOver, move };
