"use strict";
// A server of the end-to-end tests: node server.js NAME REDIS_URL [OPTIONS]
//
// It prints lines of JSON: "listening", at SIGUSR2 "counts", and what should not be.
// Everything that it knows of a client is in socket.data, and its messages are numbered.

const http = require("http");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { reattach } = require("../..");

const [, , name, url, text = "{}"] = process.argv;
const options = { every: 50, ioredis: false, recovery: false, library: "socket.io", finish: 1000, slow: 1500, ...JSON.parse(text) };
const { Server } = require(options.library);

const print = (event) => process.stdout.write(JSON.stringify({ name, ...event }) + "\n");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const counts = { asked: 0, answered: 0, moved: 0, reattached: 0, warnings: 0 };

async function connect() {
  if (options.ioredis) return new (require("ioredis"))(url);
  const client = require("redis").createClient({ url });
  client.on("error", () => {});
  await client.connect();
  return client;
}

function serve(socket) {
  const { data } = socket;
  if (!socket.recovered) {
    Object.assign(data, { seen: 0, ticks: 0, bytes: Buffer.from([1, 2, 3]) });
    socket.join("all");
    socket.join(socket.handshake.auth.room);
  }
  if (!Buffer.isBuffer(data.bytes) || data.bytes.length !== 3) print({ event: "wrong", what: "socket.data", bytes: String(data.bytes) });
  if (!socket.rooms.has("all") || !socket.rooms.has(socket.handshake.auth.room)) print({ event: "wrong", what: "rooms" });

  socket.on("count", async (n, answer) => {
    const expected = data.seen + 1;
    data.seen = n;
    if (n % 10 === 0) await sleep(n % 50 === 0 ? options.slow : 30);
    answer({ n, server: name, inOrder: n === expected, expected });
  });
  socket.on("binary", (first, { second }, answer) => answer(second, first));
  const ticking = setInterval(() => {
    counts.asked++;
    socket.emit("tick", ++data.ticks, (n) => {
      counts.answered++;
      if (!(n <= data.ticks)) print({ event: "wrong", what: "ack", n });
    });
    if (data.ticks % 5 === 0) socket.emit("blob", data.ticks, Buffer.from(`a${data.ticks}`), { deep: [Buffer.from(`b${data.ticks}`)] });
  }, options.every);
  socket.on("stop", (answer) => {
    clearInterval(ticking);
    answer();
  });
  socket.on("disconnect", (reason) => {
    clearInterval(ticking);
    if (reason === "moved" && socket.moved) counts.moved++;
    else print({ event: "disconnect", reason, id: socket.id });
  });
}

async function main() {
  const redis = await connect();
  const server = http.createServer((request, response) => response.writeHead(404).end());
  const io = new Server(server, {
    adapter: createAdapter(redis),
    ...(options.recovery ? { connectionStateRecovery: { skipMiddlewares: options.recovery === "skip" } } : {}),
  });
  for (const nsp of [io, io.of("/chat")]) {
    nsp.use((socket, next) => setTimeout(() => next(socket.handshake.auth.token === "secret" ? undefined : new Error("forbidden")), 2));
    nsp.on("connection", serve);
  }
  const moves = reattach(io, {
    redis,
    redisTimeout: 20_000,
    finish: options.finish,
    save: async (socket) => ({ ticks: socket.data.ticks }),
    restore: async (socket, value) => {
      if (!value) return;
      if (value.ticks > socket.data.ticks) print({ event: "wrong", what: "saved value", ...value, data: socket.data.ticks });
    },
  });
  moves.on("reattach", () => counts.reattached++);
  moves.on("warning", (error) => {
    counts.warnings++;
    print({ event: "warning", error: error.message });
  });
  await moves.ready;
  let n = 0;
  setInterval(() => {
    n++;
    io.to("all").emit("news", name, n);
    io.of("/chat").to("all").emit("news", name, n);
  }, options.every);
  process.stdin.on("end", () => process.exit(0)).resume(); // the test has ended
  process.on("SIGUSR2", () => print({ event: "counts", ...counts }));
  process.on("SIGTERM", () => moves.shutdown({ notice: 20_000, spread: 500 }).then(() => process.exit(0)));
  server.listen(0, "127.0.0.1", () => print({ event: "listening", address: `127.0.0.1:${server.address().port}`, pid: process.pid }));
}

main().catch((error) => {
  print({ event: "failed", error: error.stack });
  process.exit(1);
});
