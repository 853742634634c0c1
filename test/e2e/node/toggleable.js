"use strict";
// A server whose health the test chooses. Its argument is its name, which it
// sends as X-Backend in all its answers. Lines of JSON on its standard input
// change its state:
//
//   health     the status of /health
//   load       the Holdfast-Load of that answer; null for none
//   websocket  "well", "refuse" (answers upgrades with 500), or "deaf" (accepts
//              the upgrade and never sends anything)
//
// It is a WebSocket server on every path, and echoes messages. Below /app it is an
// application with sessions: a client without one gets a cookie JSESSIONID, which
// names the server. It prints events
// as lines of JSON: {"event":"listening","address"}, {"event":"state"} after a
// change of its state, and {"event":"check","kind","state"} for each health
// check.

const http = require("http");
const readline = require("readline");
const { WebSocketServer } = require("ws");

const name = process.argv[2];
let state = { health: 200, load: null, websocket: "well" };

const print = (event) => process.stdout.write(JSON.stringify(event) + "\n");

function noteCheck(request, kind, value) {
  if (request.headers["user-agent"] === "holdfast-health") print({ event: "check", kind, state: String(value) });
}

// newSession is the cookie for a client of the application that has none; "" if none is due.
let sessions = 0;
function newSession(request) {
  const has = /(^|; *)JSESSIONID=/.test(request.headers.cookie || "") || request.url.includes("jsessionid=");
  if (!request.url.startsWith("/app") || has) return "";
  return `JSESSIONID=${name}.${++sessions}; Path=/app; HttpOnly`;
}

const server = http.createServer((request, response) => {
  const cookie = newSession(request);
  if (cookie) response.setHeader("Set-Cookie", ["theme=dark", cookie]);
  noteCheck(request, "http", state.health);
  response.statusCode = state.health;
  if (state.load !== null) response.setHeader("Holdfast-Load", state.load);
  response.setHeader("X-Backend", name);
  response.end("this is " + name);
});

const well = new WebSocketServer({ noServer: true });
const deaf = new WebSocketServer({ noServer: true, autoPong: false });
for (const sockets of [well, deaf]) {
  sockets.on("headers", (headers, request) => {
    headers.push("X-Backend: " + name);
    const cookie = newSession(request);
    if (cookie) headers.push("Set-Cookie: " + cookie);
  });
}
well.on("connection", (ws) => ws.on("message", (data, binary) => ws.send(data, { binary })));
for (const sockets of [well, deaf]) sockets.on("connection", (ws) => ws.on("error", () => {}));

server.on("upgrade", (request, socket, head) => {
  socket.on("error", () => {});
  noteCheck(request, "websocket", state.websocket);
  if (state.websocket === "refuse") {
    socket.end("HTTP/1.1 500 Internal Server Error\r\nX-Backend: " + name + "\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  const sockets = state.websocket === "deaf" ? deaf : well;
  sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit("connection", ws, request));
});

readline.createInterface({ input: process.stdin })
  .on("line", (line) => {
    state = { ...state, ...JSON.parse(line) };
    print({ event: "state" });
  })
  .on("close", () => process.exit(0));

server.listen(0, "127.0.0.1", () => print({ event: "listening", address: `127.0.0.1:${server.address().port}` }));
