"use strict";
// One server of the board: people in a room write notes and draw together.
//
//   node server.js --name board-1 --port 3001 --redis redis://localhost:6379
//
// It is a Socket.IO server as people write them. reattach() is what lets its sessions move
// to other servers. Everything that a session must keep is in socket.data and in rooms.

const http = require("http");
const { parseArgs } = require("util");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { reattach } = require("holdfast-socketio");
const { createClient } = require("redis");
const { Server } = require("socket.io");
const { servePage } = require("./page");

const { values: flags } = parseArgs({
  options: {
    port: { type: "string", default: "3001" },
    redis: { type: "string", default: process.env.BOARD_REDIS ?? "redis://localhost:6379" },
    name: { type: "string", default: "board-1" },
  },
});
const REDIS_TIMEOUT = 10_000; // ms: all is on one machine here, which may be busy
const KEEP = 300; // items that a room keeps
const TTL = 24 * 3600; // s: how long it keeps them after the last one
const ASK_EVERY = 1000; // ms between two questions to a page
const ANSWER_TIME = 30_000; // ms

const acks = { asked: 0, answered: 0, unanswered: 0 }; // of questions to pages

const server = http.createServer(servePage);

// isItem accepts a note, or a line of a drawing: 16-bit numbers, first a colour, then
// the coordinates x and y of each point.
function isItem({ n, text, ink }) {
  if (!Number.isSafeInteger(n) || n < 1) return false;
  if (typeof text === "string") return ink === undefined && text.length > 0 && text.length <= 300;
  return Buffer.isBuffer(ink) && ink.length >= 6 && ink.length <= 4096 && ink.length % 4 === 2;
}
const isName = (s) => typeof s === "string" && s.length > 0 && s.length <= 32;

async function main() {
  const redis = createClient({ url: flags.redis, RESP: 2 }); // which the replacement for Redis speaks, too
  redis.on("error", (error) => console.error("Redis:", error.message));
  await redis.connect();
  const io = new Server(server, { adapter: createAdapter(redis), maxHttpBufferSize: 64 << 10 });
  const moves = reattach(io, { redis, redisTimeout: REDIS_TIMEOUT }); // it also answers /health

  const keyOf = (room) => `board:${encodeURIComponent(room)}`;
  async function keep(room, item) {
    const stored = JSON.stringify({ ...item, ink: item.ink?.toString("base64") });
    await redis.multi().rPush(keyOf(room), stored).lTrim(keyOf(room), -KEEP, -1).expire(keyOf(room), TTL).exec();
  }
  // Here ink stays base64: a packet may have no more than 10 binary parts.
  async function kept(room) {
    return (await redis.lRange(keyOf(room), 0, -1)).map((text) => JSON.parse(text));
  }

  // This is called for a new session, and for one that comes from another server: then
  // its data and rooms are what they were there.
  io.on("connection", (socket) => {
    const session = socket.data;

    socket.on("join", async ({ name, room } = {}, answer) => {
      if (!isName(name) || !isName(room) || typeof answer !== "function") return socket.disconnect(true);
      if (session.room) socket.leave(session.room);
      Object.assign(session, { name, room, last: 0 });
      socket.join(room); // first, so that the page misses nothing; what it gets twice it knows by its id
      answer({ server: flags.name, items: await kept(room) });
    });

    // A page numbers what it adds, and adds it again if there was no answer.
    socket.on("add", async (item, answer) => {
      if (!session.room || typeof answer !== "function" || !isItem(item ?? {})) return socket.disconnect(true);
      const { n, text, ink } = item;
      if (n > session.last) {
        session.last = n;
        const added = { by: socket.id, n, name: session.name, server: flags.name, text, ink };
        await keep(session.room, added);
        io.to(session.room).emit("added", added);
      }
      answer({ n, server: flags.name });
    });

    socket.on("where", (answer) => typeof answer === "function" && answer({ server: flags.name }));

    const asking = setInterval(async () => {
      acks.asked++;
      try {
        await socket.timeout(ANSWER_TIME).emitWithAck("alive");
        acks.answered++;
      } catch {
        if (!left) acks.unanswered++;
      }
    }, ASK_EVERY);

    let left = false;
    socket.on("disconnect", (reason) => {
      clearInterval(asking);
      left = reason !== "moved";
    });
  });

  process.once("SIGTERM", async () => { // a second one ends the process at once
    await moves.shutdown({ callbacks: ANSWER_TIME }); // the balancer moves the sessions to other servers
    console.log(JSON.stringify({ event: "exit", ...acks }));
    process.exit(0);
  });

  await moves.ready;
  server.listen(flags.port, "127.0.0.1", () => console.log(`listening on port ${server.address().port}`));
}

main();
