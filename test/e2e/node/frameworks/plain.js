"use strict";
// A server without a framework, and the client that many pages use with such.
const http = require("http");
const { WebSocketServer } = require("ws");

exports.server = function (name, ticks) {
  const web = http.createServer((request, response) => response.end());
  new WebSocketServer({ server: web }).on("connection", (client) => {
    const tick = (n) => client.send(JSON.stringify({ n, server: name }));
    ticks.on("tick", tick);
    client.on("close", () => ticks.off("tick", tick));
  });
  return { web };
};

exports.client = function (url, me) {
  const ReconnectingWebSocket = require("reconnecting-websocket");
  const socket = new ReconnectingWebSocket(url.replace("http", "ws"), [], { WebSocket: me.WebSocket });
  socket.addEventListener("message", ({ data }) => { const { n, server } = JSON.parse(data); me.event(n, server); });
  setInterval(() => socket.readyState === socket.OPEN && socket.send("hello"), 4 * me.every);
};
