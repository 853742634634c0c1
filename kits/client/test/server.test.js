// With real connections, in Node.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { WebSocket } from "ws";
import { Client } from "../dist/index.js";
import { startRoom } from "./room.js";

const until = async (what, condition) => {
  for (const deadline = Date.now() + 60_000; !condition();) {
    if (Date.now() > deadline) throw new Error(`${what}: not within a minute`);
    await new Promise((done) => setTimeout(done, 10));
  }
};

test("nothing is lost or doubled while connections break", async () => {
  const room = await startRoom();
  const clients = [0, 1, 2].map(() => {
    const client = new Client({ url: room.url, WebSocket, backoff: { first: 50, base: 50 } });
    const got = [];
    client.on("message", (m) => got.push(m.id));
    return { client, got };
  });
  const total = 60;
  for (let n = 0; n < total; n++) {
    clients[n % 3].client.send({ text: `message ${n}` });
    if (n % 10 === 9) {
      if (n % 20 === 9) room.cut();
      else for (const socket of room.server.clients) socket.close(1012);
    }
    await new Promise((done) => setTimeout(done, 10));
  }
  const want = Array.from({ length: total }, (_, n) => `${n + 1}`);
  await until("all messages", () => clients.every(({ client, got }) => got.length >= total && client.unacknowledged.size === 0));
  for (const { client, got } of clients) {
    assert.deepEqual(got, want);
    client.close();
  }
  assert.equal(new Set(room.history.map((m) => JSON.parse(m).key)).size, total);
  await room.stop();
});

test("a connection that is dead is replaced", async () => {
  const room = await startRoom();
  const client = new Client({ url: room.url, WebSocket, idleTimeout: 1000, backoff: { first: 20 } });
  const states = [];
  const got = [];
  client.on("state", (s) => states.push(s));
  client.on("message", (m) => got.push(m.text));
  await until("open", () => client.state.name === "open");
  room.mute();
  client.send({ text: "into the void" });
  await until("the message", () => got.length === 1);
  assert.equal(states.find((s) => s.name === "waiting").reason, "nothing received");
  assert.equal(room.history.length, 1);
  client.close();
  await room.stop();
});

test("no server at first, and one that refuses", async () => {
  const room = await startRoom();
  await room.stop();
  const client = new Client({ url: room.url, WebSocket, backoff: { first: 10, base: 10 } });
  const waits = [];
  client.on("state", (s) => { if (s.name === "waiting") waits.push(s.code); });
  await until("attempts", () => waits.length > 3);
  assert.deepEqual([...new Set(waits)], [1006]);
  client.close();

  const other = await startRoom();
  other.server.on("connection", (socket) => socket.close(1008, "who are you?"));
  const refused = new Client({ url: other.url, WebSocket });
  await until("the end", () => refused.state.name === "closed");
  assert.deepEqual(refused.state, { name: "closed", code: 1008, reason: "who are you?" });
  await other.stop();
});

test("the example", async () => {
  const example = await readFile(new URL("../example/client.js", import.meta.url), "utf8");
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  assert.ok(readme.includes("```js\n" + example + "```"), "the README has another example");
  const room = await startRoom();
  const program = spawn(process.execPath, [new URL("../example/client.js", import.meta.url).pathname, room.url, "hello"]);
  let out = "";
  program.stdout.on("data", (data) => { out += data; });
  program.stderr.pipe(process.stderr);
  try {
    await until("the message", () => out.includes("1: hello"));
    room.cut();
    await until("a second connection", () => out.split("connected\n").length === 3);
    assert.match(out, /^connected\nthe room has it\n1: hello\nconnection lost \(1006\), next attempt in \d+ ms\nconnected\n$/);
  } finally {
    program.kill();
    await room.stop();
  }
});
