// A room for holdfast-client: node server.js [PORT]. Each message has an ID, a key is
// accepted once, and a client that comes back with since gets what it has missed.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

export function createRoom() {
  const history = []; // messages as JSON; the ID of a message is its index + 1
  const ids = new Map(); // key → ID
  const http = createServer((request, response) => response.writeHead(404).end());
  const server = new WebSocketServer({ server: http });

  server.on("connection", (socket, request) => {
    socket.on("error", () => {}); // close follows
    const since = Number(new URL(request.url, "http://x").searchParams.get("since"));
    for (const message of history.slice(since)) socket.send(message);
    socket.on("message", (data) => {
      const { key, text } = JSON.parse(data);
      if (!key) return; // a ping: any answer will do
      if (ids.has(key)) return socket.send(history[ids.get(key) - 1]); // it has come before
      const message = JSON.stringify({ id: `${history.length + 1}`, key, text });
      ids.set(key, history.push(message));
      for (const client of server.clients) client.send(message);
    });
  });
  return { http, server, history };
}

if (process.argv[1] === import.meta.filename) {
  const { http } = createRoom();
  http.listen(process.argv[2] ?? 8080, "127.0.0.1", () => console.log(`ws://127.0.0.1:${http.address().port}`));
}
