"use strict";
// What is published, and what is refused.

const assert = require("assert/strict");
const { execFileSync, spawn } = require("child_process");
const { once } = require("events");
const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const { test } = require("node:test");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { reattach } = require("..");
const { until, startRedis } = require("./servers");

const root = path.join(__dirname, "..");
const code = (file, kind) => new RegExp(`\`\`\`${kind}\n(const \\{ createServer|listeners:)[^]*?\`\`\`\n`).exec(fs.readFileSync(file, "utf8"))[0];

test("the package has its code and nothing else", () => {
  const text = execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const files = JSON.parse(text)[0].files.map((file) => file.path);
  const code = fs.readdirSync(path.join(root, "lib"), { recursive: true }).filter((name) => name.endsWith(".js")).map((name) => `lib/${name}`);
  const optional = fs.existsSync(path.join(root, "conformance.js")) ? ["conformance.js"] : [];
  assert.deepEqual(files.sort(), ["LICENSE", "README.md", "index.d.ts", "index.js", "package.json", ...optional, ...code].sort());
  const { license, engines, peerDependencies } = require("../package.json");
  assert.equal(license, "Apache-2.0");
  assert.equal(engines.node, ">=18");
  assert.equal(peerDependencies["socket.io"], "~4.8.0");
  assert.equal(fs.readFileSync(path.join(root, "LICENSE"), "utf8"), fs.readFileSync(path.join(root, "../../LICENSE"), "utf8"));
});

test("README.md and docs/socketio.md have the same server, which works", async (t) => {
  const readme = path.join(root, "README.md");
  const doc = path.join(root, "../../docs/socketio.md");
  for (const kind of ["js", "yaml"]) assert.equal(code(readme, kind), code(doc, kind));
  const redis = await startRedis(t);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "hf-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.mkdirSync(path.join(folder, "node_modules"));
  for (const name of fs.readdirSync(path.join(root, "node_modules"))) {
    fs.symlinkSync(path.join(root, "node_modules", name), path.join(folder, "node_modules", name));
  }
  fs.symlinkSync(root, path.join(folder, "node_modules/holdfast-socketio"));
  const probe = http.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((done) => probe.close(done));
  // The example's server with the port and the Redis of this test.
  const text = code(readme, "js").split("\n").slice(1, -2).join("\n").replace("{ url: process.env.REDIS_URL }", JSON.stringify({ socket: { path: redis.path } }));
  assert.match(text, /"path"/);
  fs.writeFileSync(path.join(folder, "server.js"), text);
  const server = spawn(process.execPath, ["server.js"], { cwd: folder, env: { ...process.env, PORT: String(port) }, stdio: ["ignore", "inherit", "inherit"] });
  t.after(() => server.kill("SIGKILL"));
  const health = () => fetch(`http://127.0.0.1:${port}/health`).then((response) => response.status, () => 0);
  await until("healthy", async () => (await health()) === 200);
  const socket = connect(`http://127.0.0.1:${port}`);
  t.after(() => socket.disconnect());
  assert.equal(await socket.emitWithAck("say", "hello"), 1);
  assert.equal(await socket.emitWithAck("say", "hello"), 2);
  server.kill("SIGTERM");
  await until("draining", async () => (await health()) === 503);
  socket.disconnect();
  assert.deepEqual(await once(server, "exit"), [0, null]);
});

test("options", async (t) => {
  const io = new Server(http.createServer());
  t.after(() => io.close());
  const redis = { duplicate() {}, call() {} };
  for (const [options, want] of [
    [{ redis, sweep: 1 }, /no option sweep/],
    [{ redis, finish: "1s" }, /finish must be a number/],
    [{ redis, ttl: 5 }, /ttl must be a number of at least 10000/],
    [{ redis, save: 1 }, /save must be a function/],
    [{ redis }, /namespace \/ must have the adapter of @socket.io\/redis-streams-adapter 0.3; it has Adapter/],
  ]) assert.throws(() => reattach(io, options), want);
  assert.throws(() => reattach(new Server(), { redis }), /attached to an HTTP server/);
});

test("an adapter with another stream is found out", async (t) => {
  const redis = await startRedis(t);
  const client = await redis.connect();
  const io = new Server(http.createServer(), { adapter: createAdapter(client, { streamName: "other" }) });
  redis.closing.push(() => io.close());
  const moves = reattach(io, { redis: client });
  moves.on("warning", () => {});
  await assert.rejects(moves.ready, /doesn't write to the stream socket.io/);
});

test("other versions are refused", (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "hf-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, "package.json"), '{"name": "socket.io", "version": "5.0.0"}');
  fs.writeFileSync(path.join(folder, "index.js"), "exports.Server = class { engine = {} };");
  const other = require(folder);
  assert.throws(() => reattach(new other.Server(), { redis: {} }), /socket.io 5.0.0 isn't supported/);
  class Bundled {
    engine = {};
  }
  assert.throws(() => reattach(new Bundled(), { redis: {} }), /not be part of a bundle/);
});
