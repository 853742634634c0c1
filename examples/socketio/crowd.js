"use strict";
// A crowd of stock socket.io clients that use the board, without a browser. Every second it
// prints what they count, and at the end, after --for seconds or Ctrl-C, the result.
//
//   node crowd.js --clients 100
//
// With --commands it is for a program: it reads the lines start, stop and report from its
// standard input, prints JSON, and ends at the end of its input.

const { once } = require("events");
const { createInterface } = require("readline");
const { setTimeout: sleep } = require("timers/promises");
const { parseArgs } = require("util");
const { io } = require("socket.io-client");
const { Member } = require("./member");

const { values: flags } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:8080" },
    clients: { type: "string", default: "100" },
    rooms: { type: "string", default: "10" },
    every: { type: "string", default: "1000" }, // ms between two items of a client
    "answer-time": { type: "string", default: "10000" }, // ms, then an item counts as unanswered
    for: { type: "string", default: "0" }, // s; 0 is until Ctrl-C
    commands: { type: "boolean", default: false },
  },
});

// One of two begins with long polling, as browsers do.
const members = Array.from({ length: Number(flags.clients) }, (_, i) => new Member(io, flags.url, {
  name: `client-${i}`,
  room: `crowd-${Math.floor(i / 2) % Number(flags.rooms)}`,
  transports: i % 2 ? ["websocket"] : undefined,
  every: Number(flags.every),
  answerTime: Number(flags["answer-time"]),
}));
const all = (what) => members.forEach((member) => member[what]());
const sum = (of) => members.reduce((total, member) => total + of(member), 0);
const counts = () => ({
  disconnects: sum((m) => m.disconnects.length),
  sent: sum((m) => m.sent),
  answered: sum((m) => m.answered),
  unanswered: sum((m) => m.unanswered),
  received: sum((m) => m.received),
  lost: sum((m) => m.lost),
  doubled: sum((m) => m.doubled),
  reordered: sum((m) => m.reordered),
  moves: sum((m) => Math.max(0, m.servers.length - 1)),
  slowest: Math.max(...members.map((m) => m.slowest)),
});

async function forProgram() {
  await Promise.all(members.map((member) => member.join()));
  console.log(JSON.stringify({ event: "joined" }));
  for await (const line of createInterface(process.stdin)) {
    if (line === "report") console.log(JSON.stringify({ event: "report", members: members.map((m) => m.report()) }));
    else all(line);
  }
  process.exit(0);
}

async function forPeople() {
  const waiting = setTimeout(() => console.error(`no connection to ${flags.url} so far: is the board running?`), 5000);
  await Promise.all(members.map((member) => member.join()));
  clearTimeout(waiting);
  console.log(`${members.length} clients are connected to ${flags.url}; now drain, restart or kill a server`);
  all("start");
  const show = () => console.log(Object.entries(counts()).map(([name, n]) => `${name} ${n}`).join("  "));
  const showing = setInterval(show, 1000);
  const end = new AbortController();
  process.once("SIGINT", () => end.abort());
  const limit = Number(flags.for) > 0 ? sleep(flags.for * 1000, null, { signal: end.signal }) : once(end.signal, "abort");
  await limit.catch(() => {});
  all("stop");
  for (const until = Date.now() + 10_000; Date.now() < until; await sleep(100)) {
    const { sent, answered, unanswered } = counts();
    if (sent === answered + unanswered) break;
  }
  await sleep(500); // for what other clients have yet to hear
  clearInterval(showing);
  show();
  const { disconnects, unanswered, lost, doubled, reordered } = counts();
  const good = disconnects + unanswered + lost + doubled + reordered === 0;
  console.log(good ? "no client has noticed anything" : "clients have noticed something");
  process.exit(good ? 0 : 1);
}

if (flags.commands) forProgram();
else forPeople();
