"use strict";
// The plainest of WebSocket servers: what one says, all hear. It knows nothing
// of balancers. Start it with PORT=3001, and another with PORT=3002.

const { WebSocket, WebSocketServer } = require("ws");

const server = new WebSocketServer({ port: process.env.PORT ?? 3001 });

server.on("connection", (ws) => {
  ws.on("error", console.error);
  ws.on("message", (data, isBinary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});

server.on("listening", () => console.log(`listening on port ${server.address().port}`));
