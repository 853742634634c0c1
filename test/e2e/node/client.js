"use strict";
// node client.js ADDRESS SCENARIO runs one scenario on Node's ws and prints
// what the client saw as one line of JSON. What is right is for the Go test to
// say.

const { once } = require("events");
const WebSocket = require("ws");

const [address, name] = process.argv.slice(2);
const url = (path) => `ws://${address}${path}?id=${name}`;

// open connects, and collects what comes.
async function open(path, protocols = [], options = {}) {
  const ws = new WebSocket(url(path), protocols, { maxPayload: 64 << 20, perMessageDeflate: false, ...options });
  ws.inbox = [];
  ws.waiting = [];
  ws.pongs = [];
  ws.pings = [];
  ws.on("message", (data, isBinary) => {
    const message = isBinary ? data : String(data);
    const waiter = ws.waiting.shift();
    if (waiter) waiter(message);
    else ws.inbox.push(message);
  });
  ws.on("ping", (data) => ws.pings.push(String(data)));
  ws.on("pong", (data) => ws.pongs.push(String(data)));
  ws.on("error", () => {}); // "close" follows
  ws.over = new Promise((done) => ws.on("close", (code, reason) => done({ code, reason: String(reason) })));
  await once(ws, "open");
  return ws;
}

const next = (ws) =>
  ws.inbox.length ? Promise.resolve(ws.inbox.shift()) : new Promise((done) => ws.waiting.push(done));

// ask sends and waits for as many messages as were sent.
async function ask(ws, ...messages) {
  for (const m of messages) ws.send(m);
  const answers = [];
  for (const _ of messages) answers.push(await next(ws));
  return answers;
}

const command = (ws, word, args = {}) => ws.send(JSON.stringify({ do: word, ...args }));

async function closing(ws, code, reason) {
  ws.close(code, reason);
  return ws.over;
}

async function serverCloses(how) {
  const ws = await open("/echo");
  command(ws, "close", how);
  return ws.over;
}

const scenarios = {
  async text() {
    const ws = await open("/echo");
    const answers = await ask(ws, "hello", "", "žluťoučký kůň 🐎", "x".repeat(70000));
    answers[3] = `${answers[3].length} ${answers[3] === "x".repeat(70000)}`;
    return { answers, ...(await closing(ws, 1000, "")) };
  },

  async binary() {
    const ws = await open("/echo");
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const [same, empty] = await ask(ws, all, Buffer.alloc(0));
    return { same: all.equals(same), empty: Buffer.isBuffer(empty) && empty.length === 0, ...(await closing(ws, 1000, "")) };
  },

  async fragments() {
    const ws = await open("/echo");
    ws.send("a", { fin: false });
    ws.ping("between");
    ws.send("b", { fin: false });
    ws.send("c", { fin: true });
    const mine = await next(ws);
    command(ws, "fragments");
    const theirs = await next(ws);
    return { mine, theirs, pings: ws.pings, pongs: ws.pongs, ...(await closing(ws, 1000, "")) };
  },

  // With context takeover, a message is compressed with what went before it:
  // one frame lost, doubled or changed, and inflating fails from then on.
  async deflate() {
    const ws = await open("/echo", [], { perMessageDeflate: { threshold: 0 } });
    const sent = Array.from({ length: 200 }, (_, i) => `message ${i} `.repeat(1 + (i % 50)));
    const answers = await ask(ws, ...sent);
    const received = ws._socket.bytesRead;
    const plain = sent.reduce((n, s) => n + s.length, 0);
    return {
      extensions: ws.extensions,
      same: answers.every((a, i) => a === sent[i]),
      compressed: received < plain / 5,
      ...(await closing(ws, 1000, "")),
    };
  },

  // Both ends would compress with context, and go on talking while one of
  // them becomes another server.
  async moved() {
    const ws = await open("/chat", ["v2.chat"], { perMessageDeflate: { threshold: 0 }, headers: { "Holdfast-Session": "forged" } });
    const where = async () => {
      command(ws, "headers");
      const h = JSON.parse(await next(ws));
      return { session: h["holdfast-session"], why: h["holdfast-reattach"] ?? null, attempt: h["holdfast-attempt"] ?? null };
    };
    const first = await where();
    process.stdout.write('"ready"\n');
    let same = true;
    let last = first;
    for (let i = 0, after = 0; after < 20; i++) {
      const sent = Array.from({ length: 20 }, (_, k) => `message ${i} ${k} `.repeat(1 + (k % 50)));
      const answers = await ask(ws, ...sent);
      same &&= answers.every((a, k) => a === sent[k]);
      last = await where();
      if (last.why) after++;
    }
    return {
      extensions: ws.extensions, params: ws._extensions["permessage-deflate"].params, protocol: ws.protocol, same,
      moved: { ...last, session: last.session === first.session && last.session.length }, before: first.why,
      ...(await closing(ws, 1000, "")),
    };
  },

  // The server could, the client doesn't want to.
  async plain() {
    const ws = await open("/echo");
    command(ws, "extensions");
    return { client: ws.extensions, server: await next(ws), ...(await closing(ws, 1000, "")) };
  },

  async subprotocol() {
    const ws = await open("/chat", ["v1.chat", "v2.chat"]);
    return { protocol: ws.protocol, ...(await closing(ws, 1000, "")) };
  },

  async nosubprotocol() {
    const ws = await open("/chat");
    return { protocol: ws.protocol, ...(await closing(ws, 1000, "")) };
  },

  async large() {
    const ws = await open("/echo");
    const sent = Buffer.alloc(10 << 20);
    for (let i = 0; i < sent.length; i += 4) sent.writeUInt32LE(i, i);
    const [back] = await ask(ws, sent);
    command(ws, "big", { size: 10 << 20 });
    const big = await next(ws);
    return { same: sent.equals(back), big: big.equals(Buffer.alloc(10 << 20, "server")), ...(await closing(ws, 1000, "")) };
  },

  async headers() {
    const ws = await open("/echo", [], {
      headers: { "X-Forwarded-For": "6.6.6.6", "X-Custom": "kept", Cookie: "session=1", Host: "chat.example.com" },
      origin: "https://example.com",
    });
    command(ws, "headers");
    const h = JSON.parse(await next(ws));
    const some = Object.fromEntries(["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
      "x-custom", "cookie", "origin", "upgrade", "connection", "sec-websocket-version"].map((k) => [k, h[k] ?? null]));
    return { headers: some, ...(await closing(ws, 1000, "")) };
  },

  async clientcloses() { return closing(await open("/echo"), 1000, "done"); },
  async clientcloses4001() { return closing(await open("/echo"), 4001, "bye"); },
  async clientclosesbare() { return closing(await open("/echo")); },

  async servercloses() { return serverCloses({ code: 1000, reason: "done" }); },
  async servercloses4001() { return serverCloses({ code: 4001, reason: "bye" }); },
  async serverclosesbare() { return serverCloses({}); },
  async serverclosesgoing() { return serverCloses({ code: 1001, reason: "ž".repeat(61) }); },

  async ping() {
    const ws = await open("/echo");
    ws.ping("hello?");
    await once(ws, "pong");
    command(ws, "ping");
    await once(ws, "ping");
    await ask(ws, "and on");
    return { pings: ws.pings, pongs: ws.pongs, ...(await closing(ws, 1000, "")) };
  },

  async early() {
    const ws = await open("/early");
    const messages = [await next(ws), await next(ws), await next(ws)];
    return { messages, ...(await closing(ws, 1000, "")) };
  },

  // The whole first flight of a client that doesn't wait for the 101.
  async eager() {
    const net = require("net");
    const socket = net.connect(Number(address.split(":")[1]), "127.0.0.1");
    const masked = (text) => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
    socket.write(Buffer.concat([
      Buffer.from(`GET /echo?id=${name} HTTP/1.1\r\nHost: ${address}\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
      masked("one"), masked("two"), Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]),
    ]));
    const chunks = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    await once(socket, "end");
    const all = Buffer.concat(chunks);
    const head = all.indexOf("\r\n\r\n") + 4;
    return { status: String(all.subarray(0, 12)), frames: all.subarray(head).toString("hex") };
  },

  async reject() {
    const ws = new WebSocket(url("/reject"), { perMessageDeflate: false });
    ws.on("error", () => {});
    const [request, response] = await once(ws, "unexpected-response");
    const chunks = await response.toArray();
    const h = response.headers;
    return {
      status: response.statusCode,
      text: response.statusMessage,
      headers: { auth: h["www-authenticate"], reason: h["x-reason"], cookies: h["set-cookie"], type: h["content-type"] },
      body: String(Buffer.concat(chunks)),
    };
  },

  async terminate() {
    const ws = await open("/echo");
    await ask(ws, "hello");
    ws.terminate();
    return {};
  },

  async serverterminates() {
    const ws = await open("/echo");
    command(ws, "terminate");
    return ws.over;
  },

  // The Go test kills the server once the session is reported to it.
  async serverkilled() {
    const ws = await open("/echo");
    await ask(ws, "hello");
    process.stdout.write('"ready"\n');
    return ws.over;
  },
};

scenarios[name]().then(
  (result) => {
    process.stdout.write(JSON.stringify(result) + "\n");
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
