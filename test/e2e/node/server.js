"use strict";
// A WebSocket server on Node's ws. It prints what happens as lines of JSON:
// first {"event":"listening","address"}, then what it sees of its sessions,
// each with the id that the client gave in its query.
//
// With HOLDFAST_E2E_CERT and HOLDFAST_E2E_KEY, which are files, it speaks TLS.
//
//   /echo      sends messages back, but for commands: {"do":"..."} in a text
//   /chat      as /echo, and chooses the subprotocol "v2.chat"
//   /early     sends three messages together with its 101
//   /reject    answers 401
//   /destroy   cuts the connection, as the README of ws does with other paths
//   anything else is answered 404

const fs = require("fs");
const http = require("http");
const https = require("https");
const { WebSocketServer } = require("ws");

const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 64 << 20,
  perMessageDeflate: { threshold: 0, zlibDeflateOptions: { level: 6 } }, // context takeover both ways
  handleProtocols: (offered) => (offered.has("v2.chat") ? "v2.chat" : false),
});

const commands = {
  headers: (ws, request) => ws.send(JSON.stringify(request.headers)),
  extensions: (ws) => ws.send(ws.extensions),
  ping: (ws) => ws.ping("are you there?"),
  close: (ws, request, { code, reason }) => ws.close(code, reason),
  terminate: (ws) => ws.terminate(),
  big: (ws, request, { size }) => ws.send(Buffer.alloc(size, "server")),
  fragments: (ws) => {
    ws.send("one, ", { fin: false });
    ws.send("two, ", { fin: false });
    ws.ping("between");
    ws.send("three", { fin: true });
  },
};

function serve(ws, request, id) {
  ws.on("message", (data, isBinary) => {
    if (!isBinary && data.subarray(0, 6).equals(Buffer.from('{"do":'))) {
      const command = JSON.parse(data);
      commands[command.do](ws, request, command);
      return;
    }
    ws.send(data, { binary: isBinary });
  });
  ws.on("ping", (data) => tell({ event: "ping", id, data: String(data) }));
  ws.on("pong", (data) => tell({ event: "pong", id, data: String(data) }));
  ws.on("error", (error) => tell({ event: "error", id, message: error.message }));
  ws.on("close", (code, reason) => tell({ event: "close", id, code, reason: String(reason) }));
  tell({ event: "open", id, resumed: request.socket.isSessionReused?.(), forwarded: request.headers["x-forwarded-for"], host: request.headers.host });
}

const { HOLDFAST_E2E_CERT: cert, HOLDFAST_E2E_KEY: key } = process.env;
const create = (answer) =>
  cert ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, answer) : http.createServer(answer);

const server = create((request, response) => {
  response.setHeader("X-Server", "node");
  response.end(`plain ${request.method} ${request.url}`);
});

server.on("upgrade", (request, socket, head) => {
  const url = new URL(request.url, "http://server");
  const id = url.searchParams.get("id");
  if (url.pathname === "/reject") {
    socket.end("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"chat\"\r\nX-Reason: no token\r\n" +
      "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"error\":\"no token\"}");
    return;
  }
  if (url.pathname.startsWith("/destroy")) {
    socket.destroy();
    return;
  }
  if (!["/echo", "/chat", "/early"].includes(url.pathname)) {
    socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  const early = url.pathname === "/early";
  if (early) socket.cork(); // one segment holds the 101 and the messages
  sockets.handleUpgrade(request, socket, head, (ws) => {
    serve(ws, request, id);
    if (early) for (const text of ["first", "second", "third"]) ws.send(text);
  });
  if (early) process.nextTick(() => socket.uncork());
});

server.listen(0, "127.0.0.1", () => tell({ event: "listening", address: `127.0.0.1:${server.address().port}` }));
process.stdin.on("end", () => process.exit(0)).resume();
