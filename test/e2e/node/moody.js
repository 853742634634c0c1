"use strict";
// A server whose health the test chooses. Its argument is its name, which
// stands in X-Backend of all its answers. Lines of JSON on its standard input
// change its mood:
//
//   health     the status of /health
//   load       what that says as Holdfast-Load; null is nothing
//   websocket  "well", "refuse" upgrades with 500, or "deaf": takes the upgrade
//              and never answers anything on it
//
// It is a WebSocket server on every path, and sends messages back. It prints
// what happens as lines of JSON: {"event":"listening","address"},
// {"event":"mood"} once that has changed, and for each health check
// {"event":"check","kind","mood"}.

const http = require("http");
const readline = require("readline");
const { WebSocketServer } = require("ws");

const name = process.argv[2];
let mood = { health: 200, load: null, websocket: "well" };

const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

function told(request, kind, is) {
  if (request.headers["user-agent"] === "holdfast-health") tell({ event: "check", kind, mood: String(is) });
}

const server = http.createServer((request, response) => {
  told(request, "http", mood.health);
  response.statusCode = mood.health;
  if (mood.load !== null) response.setHeader("Holdfast-Load", mood.load);
  response.setHeader("X-Backend", name);
  response.end("this is " + name);
});

const well = new WebSocketServer({ noServer: true });
const deaf = new WebSocketServer({ noServer: true, autoPong: false });
for (const sockets of [well, deaf]) sockets.on("headers", (headers) => headers.push("X-Backend: " + name));
well.on("connection", (ws) => ws.on("message", (data, binary) => ws.send(data, { binary })));
for (const sockets of [well, deaf]) sockets.on("connection", (ws) => ws.on("error", () => {}));

server.on("upgrade", (request, socket, head) => {
  socket.on("error", () => {});
  told(request, "websocket", mood.websocket);
  if (mood.websocket === "refuse") {
    socket.end("HTTP/1.1 500 Internal Server Error\r\nX-Backend: " + name + "\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  const sockets = mood.websocket === "deaf" ? deaf : well;
  sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit("connection", ws, request));
});

readline.createInterface({ input: process.stdin })
  .on("line", (line) => {
    mood = { ...mood, ...JSON.parse(line) };
    tell({ event: "mood" });
  })
  .on("close", () => process.exit(0));

server.listen(0, "127.0.0.1", () => tell({ event: "listening", address: `127.0.0.1:${server.address().port}` }));
