"use strict";
// A server with the test application of holdfast doctor:
//
//   node conformance.js URL REDIS_URL PID_FILE [DEFECT...]
//
// URL says where it listens: ws://127.0.0.1:0 is any port. It prints "listening" with its
// URL, as a line of JSON. A defect of stock leaves the kit out. The others break the
// application as a broken kit would.

const fs = require("fs");
const http = require("http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { createClient } = require("redis");
const { reattach } = require("../..");
const conformance = require("../../conformance");

const [, , url, redisURL, pidFile, ...defects] = process.argv;

const broken = {
  // The state of before the last event is stored.
  repeat(socket) {
    if (socket.recovered) socket.data.conformance.sent--;
  },
  // Messages that come first on the new server are lost, and with them their acks.
  lose(socket) {
    if (!socket.recovered) return;
    const until = Date.now() + 100;
    socket.use((event, next) => {
      if (event[0] !== "holdfast:echo" || Date.now() > until) next();
    });
  },
  // Nothing of the session's data is moved.
  forget(socket) {
    if (socket.recovered) socket.data = {};
  },
};

async function main() {
  const redis = createClient({ url: redisURL });
  redis.on("error", () => {});
  await redis.connect();
  const server = http.createServer();
  const io = new Server(server, { adapter: createAdapter(redis) });
  io.on("connection", (socket) => defects.forEach((defect) => broken[defect]?.(socket)));
  conformance(io);
  if (!defects.includes("stock")) {
    const moves = reattach(io, { redis });
    moves.on("warning", (error) => console.error(error));
    await moves.ready;
  }
  server.listen(new URL(url).port, "127.0.0.1", () => {
    fs.writeFileSync(pidFile, String(process.pid));
    console.log(JSON.stringify({ event: "listening", url: `ws://127.0.0.1:${server.address().port}` }));
  });
}

main();
