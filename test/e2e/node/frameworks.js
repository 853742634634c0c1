"use strict";
// Servers and clients of docs/frameworks.md, made of their own libraries.
//
//   node frameworks.js servers KIND NAME...     starts a server for each name
//   node frameworks.js clients KIND URL N       starts N clients, which never give up
//
// KIND is a file of the folder frameworks. It exports server(name, ticks), which returns the
// HTTP server (and one for TCP) of a server that isn't listening yet, and client(url, me).
// Servers send a numbered event to all clients at each tick; all servers of a process have
// the same ticks, as if something behind them, such as Redis, shared the events.
//
// Both read lines: "kill NAME" ends a server as a crash does, and "cut" ends the connections
// of all clients as a failing network does. Both print events as lines of JSON: "listening"
// with name, address and tcp of a server; and with a client's number in "client" and the
// time in "at" (milliseconds):
//
//   opening, closed     a WebSocket of the client that was open, with code and reason
//   at                  another server sends the events now
//   events              the first event by a new WebSocket, with its source
//   gap                 how many events were lost, came late after all (lost is -1) or twice
//   failed              the library gives up

const { EventEmitter } = require("events");
const { fork } = require("child_process");
const { WebSocket } = require("ws");

const every = 50; // ms between two ticks
const [, , role, kind, ...rest] = process.argv;
const library = require(`./frameworks/${kind}.js`);
const print = (event) => process.stdout.write(JSON.stringify(event) + "\n");

async function startServer(name, ticks) {
  const { web, tcp } = await library.server(name, ticks);
  const sockets = new Set();
  const listeners = [web, tcp].filter(Boolean);
  for (const listener of listeners) {
    listener.on("connection", (socket) => sockets.add(socket.once("close", () => sockets.delete(socket))));
    if (!listener.listening) await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  }
  const [address, tcpAddress] = listeners.map((listener) => `127.0.0.1:${listener.address().port}`);
  print({ event: "listening", name, address, tcp: tcpAddress });
  return function kill() {
    for (const listener of listeners) listener.close();
    for (const socket of sockets) socket.destroy();
  };
}

// forkServer runs a server in a process of its own, for libraries with state in globals.
function forkServer(name) {
  const child = fork(__filename, ["servers", kind, name], { stdio: ["pipe", "inherit", "inherit", "ipc"], env: { ...process.env, FORKED: "1" } });
  return () => child.kill("SIGKILL");
}

async function runServers(names) {
  const ticks = new EventEmitter().setMaxListeners(0);
  const kills = {};
  for (const name of names) {
    kills[name] = library.forked && !process.env.FORKED ? forkServer(name) : await startServer(name, ticks);
  }
  let n = 0;
  setInterval(() => ticks.emit("tick", ++n), every);
  require("readline").createInterface({ input: process.stdin }).on("line", (line) => kills[line.replace("kill ", "")]()).on("close", () => process.exit());
}

const sockets = new Set(); // of all clients

// newClient returns what the code of a client reports to.
function newClient(number) {
  let place, fresh = false;
  const last = new Map(), missing = new Set();
  const say = (event, more) => print({ event, client: number, at: Date.now(), ...more });
  return {
    number,
    every,
    opening() {
      fresh = true;
      say("opening");
    },
    closed: (code, reason) => say("closed", { code, reason: String(reason) }),
    failed: (error) => say("failed", { error: String(error) }),
    // at is called with the server that has sent something.
    at(server) {
      if (server !== place) say("at", { server });
      place = server;
    },
    // event is called with the number of each event, the server that has sent it, and whose
    // numbers these are if there are several.
    event(n, server, source) {
      if (server !== undefined) this.at(server);
      if (fresh) say("events", { source });
      fresh = false;
      const before = last.get(source) ?? n - 1;
      if (n > before + 1) say("gap", { lost: n - before - 1 });
      if (n <= before) say("gap", missing.delete(`${source} ${n}`) ? { lost: -1, late: 1 } : { doubled: 1 });
      for (let i = before + 1; i < n; i++) missing.add(`${source} ${i}`);
      last.set(source, Math.max(before, n));
    },
    // WebSocket is given to the library instead of the browser's.
    get WebSocket() {
      const me = this;
      return class extends WebSocket {
        constructor(...args) {
          super(...args);
          me.opening();
          this.addEventListener("error", () => {}); // such as a refusal
          sockets.add(this);
          let opened = false;
          this.addEventListener("open", () => (opened = true));
          this.addEventListener("close", (event) => { // before the library's own listener
            sockets.delete(this);
            if (opened) me.closed(event.code, event.reason);
          });
        }
      };
    },
  };
}

if (role === "servers") {
  runServers(rest);
} else {
  for (let number = 0; number < Number(rest[1]); number++) library.client(rest[0], newClient(number));
  process.stdin.on("data", () => sockets.forEach((socket) => socket.terminate())); // "cut"
}
