"use strict";
// node https.js ADDRESS CA CERT KEY makes requests with HTTP/2 and HTTP/1.1, and opens
// a WebSocket, with the client certificate of CERT. It prints what came back as one
// line of JSON.

const fs = require("fs");
const http2 = require("http2");
const https = require("https");
const { once } = require("events");
const WebSocket = require("ws");

const [address, ca, cert, key] = process.argv.slice(2);
const tls = { ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key) };

// ask makes a request on an HTTP/2 connection.
function ask(session, headers, body) {
  return new Promise((done, fail) => {
    const req = session.request(headers, { endStream: body === undefined });
    const answer = { bytes: 0, text: "" };
    req.on("response", (h) => Object.assign(answer, { status: h[":status"], length: h["content-length"] }));
    req.on("trailers", (h) => Object.assign(answer, { trailer: h["x-after"] }));
    req.on("data", (chunk) => {
      answer.bytes += chunk.length;
      if (answer.bytes < 10000) answer.text += chunk;
    });
    req.on("end", () => done(answer));
    req.on("error", fail);
    if (body !== undefined) req.end(body);
  });
}

async function main() {
  const session = http2.connect(`https://${address}`, tls);
  await once(session, "remoteSettings");
  const told = { ":path": "/told", cookie: ["a=1", "b=2"], "x-forwarded-proto": "http", "client-name": "CN=6.6.6.6", client_name: "CN=6.6.6.6" };
  const [first, echo, head] = await Promise.all([
    ask(session, told),
    ask(session, { ":path": "/echo", ":method": "POST" }, Buffer.alloc(1 << 20, "x")),
    ask(session, { ":path": "/echo", ":method": "HEAD" }),
  ]);
  const out = {
    alpn: session.alpnProtocol,
    connect: session.remoteSettings.enableConnectProtocol,
    first: first.text,
    echo: { status: echo.status, bytes: echo.bytes, trailer: echo.trailer },
    head: { status: head.status, bytes: head.bytes },
  };
  session.close();
  const res = (await once(https.get(`https://${address}/told`, { ...tls, agent: false }), "response"))[0];
  out.http1 = "";
  for await (const chunk of res) out.http1 += chunk;
  const ws = new WebSocket(`wss://${address}/told`, tls);
  out.ws = String((await once(ws, "message"))[0]);
  ws.close();
  await once(ws, "close");
  console.log(JSON.stringify(out));
}

main();
