"use strict";
// What is published, what is refused, and connections that don't move.

const assert = require("assert/strict");
const { execFileSync, spawn } = require("child_process");
const { once } = require("events");
const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const { test } = require("node:test");
const { createClient: connect } = require("graphql-ws");
const { WebSocket, WebSocketServer } = require("ws");
const { useServer } = require("..");
const { until, startRedis, startServer, Feed, Peer, open, stored, takeOver } = require("./servers");

const root = path.join(__dirname, "..");
const code = (file, kind) => new RegExp(`\`\`\`${kind}\n(const \\{ createServer|listeners:)[^]*?\`\`\`\n`).exec(fs.readFileSync(file, "utf8"))[0];

test("the package has its code and nothing else", () => {
  const text = execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const files = JSON.parse(text)[0].files.map((file) => file.path);
  const lib = fs.readdirSync(path.join(root, "lib"), { recursive: true }).filter((name) => name.endsWith(".js")).map((name) => `lib/${name}`);
  assert.deepEqual(files.sort(), ["LICENSE", "README.md", "index.d.ts", "index.js", "package.json", ...lib].sort());
  assert.equal(fs.readFileSync(path.join(root, "LICENSE"), "utf8"), fs.readFileSync(path.join(root, "../../LICENSE"), "utf8"));
  // What is required is in the package or a peer.
  const { peerDependencies } = require("../package.json");
  for (const file of files.filter((name) => name.endsWith(".js"))) {
    for (const [, name] of fs.readFileSync(path.join(root, file), "utf8").matchAll(/require\("([^"]+)"\)/g)) {
      assert.ok(name.startsWith("./") || require("module").isBuiltin(name) || name in peerDependencies, `${file} needs ${name}`);
    }
  }
});

test("the files of lib/core are those of holdfast-socketio", () => {
  for (const name of fs.readdirSync(path.join(root, "lib/core"))) {
    const read = (kit) => fs.readFileSync(path.join(root, "..", kit, "lib/core", name), "utf8");
    assert.equal(read("graphql-ws"), read("socketio"), `change both: cp kits/socketio/lib/core/${name} kits/graphql-ws/lib/core/`);
  }
});

test("README.md and docs/graphql-ws.md have the same server, which works", async (t) => {
  const readme = path.join(root, "README.md");
  const doc = path.join(root, "../../docs/graphql-ws.md");
  for (const kind of ["js", "yaml"]) assert.equal(code(readme, kind), code(doc, kind));
  const redis = await startRedis(t);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "hf-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.mkdirSync(path.join(folder, "node_modules"));
  for (const name of fs.readdirSync(path.join(root, "node_modules"))) {
    fs.symlinkSync(path.join(root, "node_modules", name), path.join(folder, "node_modules", name));
  }
  fs.symlinkSync(root, path.join(folder, "node_modules/holdfast-graphql-ws"));
  // The example's server with the Redis of this test.
  const text = code(readme, "js").split("\n").slice(1, -2).join("\n").replace("{ url: process.env.REDIS_URL }", JSON.stringify({ socket: { path: redis.path } }));
  assert.match(text, /"path"/);
  fs.writeFileSync(path.join(folder, "server.js"), text);
  const [a, b] = await Promise.all([0, 1].map(async () => {
    const probe = http.createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address();
    await new Promise((done) => probe.close(done));
    const server = spawn(process.execPath, ["server.js"], { cwd: folder, env: { ...process.env, PORT: String(port) }, stdio: ["ignore", "inherit", "inherit"] });
    t.after(() => server.kill("SIGKILL"));
    const health = () => fetch(`http://127.0.0.1:${port}/health`).then((response) => response.status, () => 0);
    await until("healthy", async () => (await health()) === 200);
    return { port, server, health };
  }));
  const { session, peer } = await open(t, a);
  peer.subscribe("1", "subscription { said { text } }");
  const client = await redis.connect();
  await until("subscribed", async () => (await client.hGet(`holdfast:gql:session:${session}`, "s")).includes('"1","'));
  peer.subscribe("2", 'mutation { say(text: "one") }');
  await until("said", () => peer.values("1", "said").length > 0);
  const next = await takeOver(t, b, session);
  a.server.kill("SIGTERM");
  await until("draining", async () => (await a.health()) === 503);
  peer.ws.ping("holdfast leave");
  assert.equal(await peer.ended, 1012);
  assert.deepEqual(await once(a.server, "exit"), [0, null]);
  await client.xAdd("said", "*", { text: "two" });
  await next.ping("holdfast begin");
  await until("said", () => next.values("1", "said").length > 0);
  assert.deepEqual([...peer.values("1", "said"), ...next.values("1", "said")], [{ text: "one" }, { text: "two" }]);
});

test("it can be imported", async () => {
  const text = 'import { useServer } from "holdfast-graphql-ws"; console.log(typeof useServer);';
  assert.equal(execFileSync(process.execPath, ["--input-type=module", "-e", text], { cwd: root, encoding: "utf8" }), "function\n");
});

test("options", () => {
  const redis = { duplicate() {}, call() {} };
  const wss = new WebSocketServer({ noServer: true });
  for (const [options, want] of [
    [{ redis, sweep: 1 }, /no option sweep/],
    [{ redis, finish: "1s" }, /finish must be a number/],
    [{ redis, ttl: 5 }, /ttl must be a number of at least 10000/],
    [{ redis, cursor: 1 }, /cursor must be a function/],
    [{ redis, trust: ["example.com"] }, /neither an address nor a network/],
    [{}, /redis must be a client/],
  ]) assert.throws(() => useServer({}, wss, options), want);
  assert.throws(() => useServer({}, {}, { redis }), /must be a WebSocketServer/);
});

test("a client without the balancer is served as by graphql-ws", async (t) => {
  const redis = await startRedis(t);
  const feed = new Feed();
  const server = await startServer(redis, feed);
  const client = connect({ url: `ws://127.0.0.1:${server.port}/graphql`, webSocketImpl: WebSocket, retryAttempts: 0 });
  const ticks = client.iterate({ query: "subscription { tick }" });
  const first = ticks.next();
  await until("subscribed", () => feed.listenerCount("tick") === 1);
  feed.publish();
  assert.deepEqual((await first).value, { data: { tick: 1 } });
  assert.deepEqual((await client.iterate({ query: "{ where }" }).next()).value, { data: { where: null } });
  assert.deepEqual(await server.client.keys("*"), [], "nothing is stored");
  client.dispose();
  await until("disconnected", () => {
    feed.publish(); // a generator that waits can't end
    return server.calls.some(({ disconnect }) => disconnect === 1000);
  });
});

test("a client that doesn't answer pings is disconnected", async (t) => {
  const redis = await startRedis(t);
  const server = await startServer(redis, new Feed(), { keepAlive: 50 });
  const { ended } = new Peer(server, "session", {}, { autoPong: false });
  assert.equal(await ended, 4499, "a code that ends the session");
  const plain = new Peer(server, "plain", { "Holdfast-Control": "0" }, { autoPong: false });
  assert.equal(await plain.ended, 1006);
});

test("who may take over a session", async (t) => {
  const redis = await startRedis(t);
  const a = await startServer(redis, new Feed(), { wss: { verifyClient: ({ req }) => req.headers.cookie !== "bad" } });
  const stranger = await startServer(redis, new Feed(), { trust: ["192.0.2.1"] });
  const { session } = await open(t, a);
  const untrusted = await takeOver(t, stranger, session);
  assert.equal(untrusted.status, 101, "as a new client");
  assert.equal((await untrusted.answer).headers["holdfast-control"], undefined);
  assert.equal((await takeOver(t, a, session, { headers: { Cookie: "bad" } })).status, 401, "the application's verifyClient");
  const other = new Peer(a, "other");
  await once(other.ws, "open");
  other.ws.close();
  await until("forgotten", async () => !(await stored(a, "other")));
});

test("another subprotocol is refused as by graphql-ws", async (t) => {
  const redis = await startRedis(t);
  const server = await startServer(redis, new Feed());
  const ws = new WebSocket(`ws://127.0.0.1:${server.port}/graphql`, { headers: { "Holdfast-Session": "s", "Holdfast-Control": "1" } });
  const [status] = await once(ws, "close");
  assert.equal(status, 4406);
});

test("shutdown waits for health checks, and closes what is left", async (t) => {
  const redis = await startRedis(t);
  const server = await startServer(redis, new Feed());
  const { session, peer } = await open(t, server);
  const health = async () => (await fetch(`http://127.0.0.1:${server.port}/health?x`)).status;
  assert.equal(await health(), 200);
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/other`)).status, 404);
  const ended = server.kit.shutdown({ notice: 60_000, spread: 0 });
  assert.equal(await health(), 503);
  assert.equal((await takeOver(t, server, session)).status, 503);
  peer.ws.close(1000);
  await ended;
  const busy = await startServer(redis, new Feed());
  const { peer: left } = await open(t, busy);
  await busy.kit.shutdown({ notice: 0, spread: 0 });
  assert.equal(await left.ended, 1012);
});
