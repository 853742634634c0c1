"use strict";
// A minimal WebSocket server: it sends every message to all its clients. It knows
// nothing about load balancers. Start one with PORT=3001 and one with PORT=3002.

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
