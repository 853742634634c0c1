"use strict";
// Starts the whole example: Redis, the servers, and the balancer in front of them.
//
//   npm start
//
// It starts a server again whenever it has ended, however it did, and serves what the buttons
// of the page do at /demo.

const fs = require("fs");
const http = require("http");
const net = require("net");
const os = require("os");
const path = require("path");
const { execFileSync, spawn, spawnSync } = require("child_process");
const { randomBytes } = require("crypto");
const { once } = require("events");
const { createInterface } = require("readline");
const { setTimeout: sleep } = require("timers/promises");
const { parseArgs } = require("util");

const { values: flags } = parseArgs({
  options: {
    port: { type: "string", default: "8080" }, // of the balancer
    admin: { type: "string", default: "9900" }, // port of its admin address
    redis: { type: "string" }, // URL; without it, a Redis is started
    holdfast: { type: "string" }, // the balancer's binary; without it, it is built
  },
});
const RESTART_DELAY = 2000; // ms that a server is away
const POOL = "board"; // its name in holdfast.yaml

const root = path.join(__dirname, "../..");
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-board-"));
const children = new Set();
const guard = spawn(process.execPath, [path.join(__dirname, "guard.js"), temporary], { stdio: ["pipe", "ignore", "inherit"] });
let balancer = null; // its process
let ending = false;

// run starts a child process. Its lines of output go to line, and what it complains about
// to the terminal.
function run(name, program, args, { env = {}, line = () => {} } = {}) {
  const child = spawn(program, args, { stdio: "pipe", env: { ...process.env, ...env } });
  child.on("error", (error) => console.error(`${name}: ${error.message}`));
  if (child.pid) {
    children.add(child);
    guard.stdin.write(`started ${child.pid}\n`);
    child.on("exit", () => {
      children.delete(child);
      guard.stdin.write(`ended ${child.pid}\n`);
    });
  }
  createInterface(child.stdout).on("line", line);
  createInterface(child.stderr).on("line", (text) => { if (!ending) console.error(`${name}: ${text}`); });
  return child;
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const isThere = (program) => spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

// build compiles a Go program of this repository and returns its path.
function build(name, folder) {
  const binary = path.join(temporary, process.platform === "win32" ? `${name}.exe` : name);
  console.log(`building ${folder}, which takes a minute or two the first time`);
  execFileSync("go", ["build", "-trimpath", "-o", binary, folder], { cwd: root, stdio: "inherit" });
  return binary;
}

// startRedis returns the URL of a Redis that nobody else on this machine can use.
async function startRedis() {
  if (flags.redis) return flags.redis;
  if (!isThere("redis-server")) {
    return new Promise((done) => run("redis", build("redis", "./examples/socketio/redis"), [], { line: done }));
  }
  const port = await freePort();
  const password = randomBytes(16).toString("hex");
  const redis = run("redis", "redis-server", ["-"]);
  redis.stdin.end(`bind 127.0.0.1\nport ${port}\nrequirepass ${password}\nsave ""\ndir ${temporary}\n`);
  return `redis://default:${password}@127.0.0.1:${port}`;
}

// BoardServer is a server, whose process changes and whose address stays.
class BoardServer {
  constructor(name, redis) {
    Object.assign(this, { name, redis, port: 0, child: null, state: "starting" });
  }

  // start resolves when it listens.
  async start() {
    this.state = "starting";
    const args = [path.join(__dirname, "server.js"), "--name", this.name, "--port", String(this.port)];
    const listening = new Promise((done) => {
      this.child = run(this.name, process.execPath, args, {
        env: { BOARD_REDIS: this.redis },
        line: (text) => {
          const [, port] = text.match(/^listening on port (\d+)$/) ?? [];
          if (port) done(this.port = Number(port));
        },
      });
      this.child.on("exit", (status, signal) => { this.ended(signal ?? `status ${status}`); done(); });
    });
    await listening;
    if (this.state !== "starting") return;
    this.state = "serving";
    console.log(`${this.name} (pid ${this.child.pid}) listens on port ${this.port}`);
  }

  async ended(how) {
    this.state = "down";
    if (ending) return;
    console.log(`${this.name} (pid ${this.child.pid}) has ended: ${how}; it starts again`);
    await sleep(RESTART_DELAY);
    if (!ending) this.start();
  }
}

// The balancer has the configuration of holdfast.yaml, with the ports of this run.
function startBalancer(servers, controls) {
  const ports = { 8080: flags.port, 9900: flags.admin, 3000: controls };
  servers.forEach((server, i) => (ports[3001 + i] = server.port));
  const text = fs.readFileSync(path.join(__dirname, "holdfast.yaml"), "utf8")
    .replace(/127\.0\.0\.1:(\d+)/g, (all, port) => `127.0.0.1:${ports[port] ?? port}`)
    .replace(/secret: "[^"]*"/, `secret: "${randomBytes(24).toString("base64")}"`);
  const file = path.join(temporary, "holdfast.yaml");
  fs.writeFileSync(file, text);
  return run("holdfast", flags.holdfast ?? build("holdfast", "./cmd/holdfast"), ["run", "-c", file]);
}

// status is what the page shows.
async function status(servers) {
  const response = await fetch(`http://127.0.0.1:${flags.admin}/v1/pools/${POOL}`, { signal: AbortSignal.timeout(2000) });
  const { backends } = await response.json();
  return servers.map(({ name, state, child }) => {
    const backend = backends.find((one) => one.name === name);
    const drained = state === "serving" && backend?.admin === "drain";
    return { name, state: drained ? "drained" : state, pid: child.pid, sessions: backend?.sessions ?? 0 };
  });
}

// actions are the buttons of the page. Each has an equivalent in a terminal, see README.md.
const actions = {
  drain: (server) => tellBalancer(server, "drain"),
  undrain: (server) => tellBalancer(server, "undrain"),
  restart: (server) => server.child.kill("SIGTERM"),
  kill: (server) => server.child.kill("SIGKILL"),
};

async function tellBalancer(server, what) {
  const url = `http://127.0.0.1:${flags.admin}/v1/pools/${POOL}/backends/${server.name}/${what}`;
  const response = await fetch(url, { method: "POST", signal: AbortSignal.timeout(2000) });
  if (!response.ok) throw new Error(`the balancer answered with ${response.status}`);
}

// isFromHere refuses what pages of other sites send, also if their name leads to this
// machine (DNS rebinding).
function isFromHere({ headers }) {
  const { hostname } = new URL(`http://${headers.host}`);
  return ["same-origin", undefined].includes(headers["sec-fetch-site"]) &&
    (hostname === "localhost" || net.isIP(hostname.replace(/[[\]]/g, "")) > 0);
}

async function serveControls(servers, request, response) {
  const answer = (code, body) => response.writeHead(code, { "Content-Type": "application/json", "Cache-Control": "no-store" })
    .end(JSON.stringify(body));
  try {
    if (!isFromHere(request)) return answer(403, { error: "this page isn't of the board" });
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    if (request.method === "GET" && pathname === "/demo/status") return answer(200, await status(servers));
    const action = actions[pathname.replace("/demo/", "")];
    const server = servers.find((one) => one.name === searchParams.get("server"));
    if (request.method !== "POST" || !action || !server) return answer(404, { error: "no such server or action" });
    await action(server);
    answer(200, {});
  } catch (error) {
    answer(500, { error: error.message });
  }
}

async function main() {
  // npm makes a link to the kit, which has packages of its own.
  for (const folder of [__dirname, path.join(root, "kits/socketio")]) {
    if (fs.existsSync(path.join(folder, "node_modules"))) continue;
    execFileSync("npm", ["ci", "--omit=dev", "--no-audit", "--no-fund"], { cwd: folder, stdio: "inherit", shell: process.platform === "win32" });
  }
  const redis = await startRedis();
  const servers = ["board-1", "board-2"].map((name) => new BoardServer(name, redis));
  for (const server of servers) await server.start();
  const controls = http.createServer((request, response) => serveControls(servers, request, response)).listen(0, "127.0.0.1");
  await once(controls, "listening");
  balancer = startBalancer(servers, controls.address().port);
  balancer.on("exit", () => end(1));
  for (;; await sleep(100)) {
    const answer = await fetch(`http://127.0.0.1:${flags.port}/`).catch(() => null);
    if (answer?.ok) break;
  }
  console.log(`open http://localhost:${flags.port}`);
  console.log("drain, restart and kill the servers on the page or by their pids; Ctrl-C stops everything");
}

// end stops the balancer first, so that it can close its sessions.
async function end(status) {
  if (ending) return;
  ending = true;
  if (children.has(balancer) && balancer.kill("SIGTERM")) await once(balancer, "exit");
  for (const child of children) child.kill("SIGKILL");
  while (children.size > 0) await sleep(20);
  guard.stdin.end(); // it removes the temporary folder
  await once(guard, "exit");
  process.exit(status);
}
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end(0));

main().catch((error) => {
  console.error(error.message);
  end(1);
});
