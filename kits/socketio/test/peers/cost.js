"use strict";
// Measures what saving sessions costs a server, with reattach and without it:
//
//   node cost.js CLIENTS [SECONDS]
//
// Each client does one thing a second: nothing; an event whose handler changes nothing; one
// whose handler changes socket.data; one whose handler enters or leaves a room. It prints
// the server's CPU time in percent of a processor, and the commands that Redis has executed.
// Those in scripts count, too.

const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const { spawn } = require("child_process");
const { once } = require("events");
const { createInterface } = require("readline");
const { setTimeout: sleep } = require("timers/promises");
const { createClient } = require("redis");

const connect = async (socket) => {
  const client = createClient({ socket: { path: socket } }).on("error", () => {});
  await client.connect();
  return client;
};
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");

const roles = {
  async server(socket, mode) {
    const { Server } = require("socket.io");
    const redis = await connect(socket);
    const server = http.createServer();
    const io = new Server(server, { adapter: require("@socket.io/redis-streams-adapter").createAdapter(redis) });
    io.on("connection", (socket) => {
      socket.on("say", (n, answer) => answer(n));
      socket.on("data", (n, answer) => answer((socket.data.n = n)));
      socket.on("room", (n, answer) => answer(n % 2 ? socket.join("room") : socket.leave("room")));
    });
    if (mode === "with") await require("../..").reattach(io, { redis }).ready;
    process.stdin.on("data", () => print(process.cpuUsage()));
    server.listen(0, "127.0.0.1", () => print(server.address().port));
  },

  // The clients are no more than WebSockets, so that they need little themselves.
  async clients(port, count, what) {
    const { WebSocket } = require("ws");
    const clients = [];
    let answered = 0;
    for (let i = 0; i < count; i++) {
      const ws = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, {
        headers: { "Holdfast-Session": `session${i}`, "Holdfast-Control": "1" },
      });
      const ready = new Promise((done) => ws.on("message", (data) => {
        const text = String(data);
        if (text === "2") ws.send("3");
        else if (text.startsWith("0")) ws.send("40");
        else if (text.startsWith("40")) done();
        else if (text.startsWith("43")) answered++;
      }));
      await ready;
      clients.push(ws);
    }
    print("open");
    for (const ws of clients) {
      let n = 0;
      const send = () => ws.send(`42${++n}["${what}",${n}]`);
      if (what !== "nothing") setTimeout(() => setInterval(send, 1000), Math.random() * 1000);
    }
    process.stdin.on("data", () => print(answered));
  },
};

// start starts a role, and returns a function that asks it for its next line.
function start(role, ...args) {
  const child = spawn(process.execPath, [__filename, role, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value);
  const ask = () => (child.stdin.write("\n"), next());
  return { next, ask, stop: () => (child.stdin.end(), once(child, "exit")) };
}

async function measure(count, seconds, what, mode) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "hf-"));
  const socket = path.join(folder, "redis.sock");
  const redis = spawn("redis-server", ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""], { stdio: "ignore" });
  while (!fs.existsSync(socket)) await sleep(50);
  const client = await connect(socket);
  const server = start("server", socket, mode);
  const clients = start("clients", await server.next(), count, what);
  await clients.next();
  await sleep(4000); // until the connections have been saved
  const read = async () => {
    const commands = Number((await client.info("stats")).match(/total_commands_processed:(\d+)/)[1]);
    const { user, system } = await server.ask();
    return { time: performance.now() / 1000, cpu: (user + system) / 1e6, commands, answers: await clients.ask() };
  };
  const before = await read();
  await sleep(seconds * 1000);
  const after = await read();
  const rate = (of) => (after[of] - before[of]) / (after.time - before.time);
  console.log(`${count} clients, ${what}, ${mode} reattach: CPU ${Math.round(rate("cpu") * 100)} %, ` +
    `events ${Math.round(rate("answers"))}/s, commands of Redis ${Math.round(rate("commands"))}/s`);
  await clients.stop();
  await server.stop();
  client.destroy();
  redis.kill("SIGKILL");
  await once(redis, "exit");
  fs.rmSync(folder, { recursive: true });
}

async function main(count, seconds = "10") {
  for (const what of ["nothing", "say", "data", "room"]) {
    for (const mode of ["without", "with"]) await measure(count, Number(seconds), what, mode);
  }
}

const [, , role, ...args] = process.argv;
if (roles[role]) {
  process.stdin.on("end", () => process.exit(0));
  roles[role](...args);
} else {
  main(role, ...args);
}
