"use strict";
// Clients of the end-to-end tests: node clients.js URL N EVERY PATIENCE, in ms
//
// It prints "settled" when all have connected and got some answers. At the end of its
// input, clients and servers stop asking, and when all is answered, or after PATIENCE, it
// prints the counts.

const { io } = require("socket.io-client");

const [, , url, n, every, patience] = process.argv;
const print = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const counts = {
  disconnects: 0, refused: 0, asked: 0, answered: 0, unordered: 0, ticks: 0, news: 0, blobs: 0, binaries: 0,
  lost: 0, doubled: 0, websockets: 0,
};
let stopping = false;
let settled = 0;

// next checks that a number follows the one before.
function next(what, seen, key, number) {
  const before = seen.get(key);
  seen.set(key, Math.max(before || 0, number));
  if (before === undefined || number === before + 1) return;
  if (number <= before) counts.doubled++;
  else counts.lost += number - before - 1;
  print({ event: "sequence", what, key, before, number });
}

function use(socket, client) {
  sockets.push(socket);
  const seen = new Map();
  let sent = 0;
  socket.once("connect", () => {
    const id = socket.id;
    const asking = setInterval(() => {
      if (stopping) return clearInterval(asking);
      counts.asked++;
      socket.emit("count", ++sent, (answer) => {
        counts.answered++;
        if (answer.n === 5 && ++settled === 2 * n) print({ event: "settled" });
        if (!answer.inOrder) {
          counts.unordered++;
          print({ event: "unordered", client, nsp: socket.nsp, id, answer });
        }
      });
      if (sent % 5) return;
      counts.asked++;
      const first = Buffer.from(`first ${sent}`);
      const second = Buffer.from(`second ${sent}`);
      socket.emit("binary", first, { second }, (one, two) => {
        counts.answered++;
        counts.binaries++;
        if (!second.equals(one) || !first.equals(two)) print({ event: "wrong", what: "binary" });
      });
    }, Number(every));
  });
  socket.on("tick", (number, answer) => {
    counts.ticks++;
    next("tick", seen, "tick", number);
    answer(number);
  });
  socket.on("blob", (number, a, { deep: [b] }) => {
    counts.blobs++;
    next("blob", seen, "blob", number / 5);
    if (String(a) !== `a${number}` || String(b) !== `b${number}`) print({ event: "wrong", what: "blob" });
  });
  socket.on("news", (server, number) => {
    counts.news++;
    next("news", seen, `news of ${server}`, number);
  });
  socket.on("disconnect", (reason, details) => {
    if (stopping === "done") return;
    counts.disconnects++;
    print({ event: "disconnect", client, nsp: socket.nsp, reason, details: details && details.description });
  });
  socket.on("connect_error", (error) => {
    counts.refused++;
    print({ event: "connect_error", client, error: error.message });
  });
}

const managers = [];
const sockets = [];
for (let client = 0; client < n; client++) {
  const how = client % 2 ? { transports: ["websocket"] } : { withCredentials: true };
  const main = io(url, { ...how, forceNew: true, auth: { token: "secret", room: `room ${client % 3}` } });
  managers.push(main.io);
  use(main, client);
  use(main.io.socket("/chat", { auth: { token: "secret", room: `room ${client % 3}` } }), client);
}

process.stdin.resume();
process.stdin.on("end", async () => {
  stopping = true;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  await Promise.race([Promise.all(sockets.map((socket) => socket.emitWithAck("stop"))), pause(10_000)]);
  for (const end = Date.now() + Number(patience); counts.answered < counts.asked && Date.now() < end; ) await pause(20);
  await pause(500); // acks of the last ticks
  counts.websockets = managers.filter((m) => m.engine.transport.name === "websocket").length;
  print({ event: "counts", ...counts });
  stopping = "done";
  process.exit(0);
});
