"use strict";
// A server of the end-to-end tests: node server.js NAME REDIS_URL [OPTIONS]
//
// It prints lines of JSON: "listening", at SIGUSR2 "counts", and what should not be.
// The events that clients subscribe to are numbered, in a stream of Redis that every
// server reads from its beginning.

const http = require("http");
const Module = require("module");

const [, , name, url, text = "{}"] = process.argv;
const options = { cursor: true, ioredis: false, library: "graphql-ws", saveEvery: 1000, ...JSON.parse(text) };

const { _resolveFilename } = Module;
Module._resolveFilename = (id, ...rest) => _resolveFilename.call(Module, id === "graphql-ws" ? options.library : id, ...rest);
const { useServer } = require("../..");
const { buildSchema } = require("graphql");
const { createClient } = require("redis");
const { WebSocketServer } = require("ws");

const print = (event) => process.stdout.write(JSON.stringify({ name, ...event }) + "\n");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const counts = { left: 0, reattached: 0 };

const schema = buildSchema(`
  type Query { where: String }
  type Mutation { count(n: Int!): Int }
  type Subscription { events: Int, three: Int }
`);

let last = 0; // number of the last event
let wake = () => {};
let woken = new Promise((done) => (wake = done));

async function read(client) {
  for (let id = "0"; ; ) {
    const streams = (await client.xRead({ key: "events", id }, { BLOCK: 1000 })) ?? [];
    for (const message of streams[0]?.messages ?? []) {
      id = message.id;
      if (Number(message.message.n) !== ++last) print({ event: "wrong", what: "the stream", last });
    }
    if (streams.length === 0) continue;
    wake();
    woken = new Promise((done) => (wake = done));
  }
}

async function* events(context) {
  for (;;) {
    while (context.position < last) yield { events: ++context.position };
    await woken;
  }
}

async function* three(context) {
  context.position ??= 0;
  while (context.position < 3) {
    await sleep(30);
    yield { three: ++context.position };
  }
}

async function connect() {
  const client = createClient({ url });
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function main() {
  read(await connect()).catch((error) => print({ event: "failed", error: error.stack }));
  const web = http.createServer((request, response) => response.writeHead(404).end());
  const moves = useServer({
    schema,
    context: (ctx, id) => ({ position: ctx.extra.resumed.get(id)?.cursor }),
    onConnect: (ctx) => {
      if (ctx.connectionParams?.token !== "secret") print({ event: "wrong", what: "connectionParams", params: ctx.connectionParams });
      return ctx.connectionParams?.token === "secret";
    },
    onDisconnect: (ctx, code) => {
      if (!ctx.extra.moved) print({ event: "disconnect", code });
    },
    roots: {
      mutation: {
        count: async ({ n }) => {
          if (n % 5 === 0) await sleep(30);
          return n;
        },
      },
      subscription: {
        events: (args, context) => {
          context.position ??= last;
          return events(context);
        },
        three: (args, context) => three(context),
      },
    },
  }, new WebSocketServer({ server: web, path: "/graphql" }), {
    redis: options.ioredis ? new (require("ioredis"))(url) : await connect(),
    redisTimeout: 20_000,
    finish: 20_000,
    saveEvery: options.saveEvery,
    cursor: options.cursor ? (ctx, id, payload, args) => args.contextValue.position : undefined,
  });
  moves.on("reattach", () => counts.reattached++);
  moves.on("leave", () => counts.left++);
  moves.on("warning", (error) => print({ event: "warning", error: error.message }));
  process.stdin.on("end", () => process.exit(0)).resume(); // the test has ended
  process.on("SIGUSR2", () => print({ event: "counts", ...counts }));
  web.listen(0, "127.0.0.1", () => print({ event: "listening", address: `127.0.0.1:${web.address().port}`, pid: process.pid }));
}

main().catch((error) => {
  print({ event: "failed", error: error.stack });
  process.exit(1);
});
