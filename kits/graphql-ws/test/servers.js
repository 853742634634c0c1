"use strict";
// What the tests share: Redis, servers, and a peer that is the balancer and the client.

const { spawn } = require("child_process");
const { once, EventEmitter } = require("events");
const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const { setTimeout: sleep } = require("timers/promises");
const { createClient } = require("redis");
const { buildSchema } = require("graphql");
const { WebSocket, WebSocketServer } = require("ws");
const { useServer } = require("..");

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
    clients.push(client);
    await client.connect();
    return client;
  };
  return { connect, closing, process: server, path: socket };
}

const schema = buildSchema(`
  type Query { slow: String, where: String }
  type Mutation { slow: String }
  type Subscription { tick: Int, three: Int }
`);

// Feed has numbered events. Servers share it.
class Feed extends EventEmitter {
  last = 0;

  publish() {
    this.emit("tick", ++this.last);
  }

  // from returns the events after a position, or those to come.
  from(context) {
    context.position ??= this.last;
    return this.events(context);
  }

  async *events(context) {
    for (;;) {
      while (context.position < this.last) yield { tick: ++context.position };
      await new Promise((done) => this.once("tick", done));
    }
  }
}

// startServer starts a server with its calls and warnings. answers ends the operations
// that are called slow.
async function startServer(redis, feed, { server: serverOptions = {}, wss: wssOptions = {}, ...options } = {}) {
  const client = await redis.connect();
  const web = http.createServer((request, response) => response.writeHead(404).end());
  const wss = new WebSocketServer({ server: web, path: "/graphql", ...wssOptions });
  const calls = [];
  const answers = new EventEmitter();
  const slow = () => {
    calls.push("slow");
    return once(answers, "answer").then(([answer]) => answer);
  };
  const kit = useServer({
    schema,
    context: (ctx, id) => ({ position: ctx.extra.resumed.get(id)?.cursor, resumed: ctx.extra.resumed.has(id) }),
    onConnect: (ctx) => void calls.push({ connect: ctx.connectionParams, ...ctx.extra.reattached }),
    onDisconnect: (ctx, code) => void calls.push({ disconnect: code, moved: ctx.extra.moved }),
    roots: {
      query: { slow },
      mutation: { slow },
      subscription: {
        tick: (args, context) => feed.from(context),
        async *three(args, context) {
          calls.push({ three: context.position, resumed: context.resumed });
          context.position ??= 0;
          while (context.position < 3) {
            await once(answers, "answer");
            yield { three: ++context.position };
          }
        },
      },
    },
    ...serverOptions,
  }, wss, {
    redis: client,
    cursor: (ctx, id, payload, args) => args.contextValue.position,
    ...options,
  });
  const warnings = [];
  kit.on("warning", (error) => warnings.push(error.message));
  await new Promise((done) => web.listen(0, "127.0.0.1", done));
  redis.closing.push(async () => {
    await kit.dispose();
    web.close();
  });
  return { kit, wss, calls, answers, warnings, client, port: web.address().port };
}

// Peer is the balancer's connection to a server, with what it gets.
class Peer {
  constructor(server, session, headers = {}, options = {}) {
    this.got = [];
    this.pongs = [];
    this.ws = new WebSocket(`ws://127.0.0.1:${server.port}/graphql`, "graphql-transport-ws", {
      headers: { "Holdfast-Session": session, "Holdfast-Control": "1", ...headers }, ...options,
    });
    this.ws.on("message", (data) => this.got.push(JSON.parse(String(data))));
    this.ws.on("pong", (data) => this.pongs.push(String(data)));
    this.ended = new Promise((done) => this.ws.on("close", (code) => done(code)));
    this.answer = new Promise((done) => {
      this.ws.on("upgrade", (response) => done(response));
      this.ws.on("unexpected-response", (request, response) => done(response));
      this.ws.on("error", () => {});
    });
  }

  send(...messages) {
    for (const message of messages) this.ws.send(JSON.stringify(message));
  }

  subscribe(id, query) {
    this.send({ id, type: "subscribe", payload: { query } });
  }

  // find waits for a message with these fields, and returns it.
  find(fields) {
    const wanted = JSON.stringify(fields);
    return until(`got ${wanted} but ${JSON.stringify(this.got)}`, () => this.got.find((message) => JSON.stringify({ ...message, ...fields }) === JSON.stringify(message)));
  }

  // values are the results of an operation.
  values(id, field) {
    return this.got.filter((message) => message.id === id && message.type === "next").map(({ payload }) => payload.data[field]);
  }

  async ping(payload) {
    this.ws.ping(payload);
    await until("a pong", () => this.pongs.includes(payload));
  }
}

let sessions = 0;

// open opens a session with a client.
async function open(t, server, payload) {
  const session = `session${++sessions}`;
  const peer = new Peer(server, session);
  t.after(() => peer.ws.terminate());
  await once(peer.ws, "open");
  peer.send({ type: "connection_init", payload });
  await peer.find({ type: "connection_ack" });
  return { session, peer };
}

// stored is the state of a session.
async function stored(server, session) {
  const text = await server.client.hGet(`holdfast:gql:session:${session}`, "s");
  return text && JSON.parse(text);
}

// takeOver asks a server to take over a session.
async function takeOver(t, server, session, { reason = "drain", move = 1, headers } = {}) {
  const peer = new Peer(server, session, { "Holdfast-Reattach": reason, "Holdfast-From": "old", "Holdfast-Move": String(move), ...headers });
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

module.exports = { until, sleep, startRedis, startServer, Feed, Peer, open, stored, takeOver, move };
