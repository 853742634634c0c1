"use strict";
const http = require("http");

exports.server = function (name, ticks) {
  const web = http.createServer((request, response) => response.writeHead(404).end());
  const io = new (require("socket.io").Server)(web);
  io.on("connection", (socket) => socket.on("who", (answer) => answer(name)));
  ticks.on("tick", (n) => io.emit("tick", n, name));
  return { web };
};

// One of two begins with long polling, as browsers do, and keeps the cookie.
exports.client = function (url, me) {
  const how = me.number % 2 ? { transports: ["websocket"] } : { withCredentials: true };
  const socket = require("socket.io-client").io(url, { ...how, forceNew: true });
  socket.io.on("reconnect_attempt", me.opening);
  socket.on("connect", () => socket.io.engine.once("close", (reason, details) => me.closed(details?.context?.code ?? 0, details?.context?.reason ?? reason)));
  socket.on("connect_error", (error) => { if (!socket.active) me.failed(error); });
  socket.on("disconnect", (reason) => { if (!socket.active) me.failed(reason); });
  socket.on("tick", (n, server) => me.event(n, server));
  setInterval(() => socket.connected && socket.emit("who", () => {}), 4 * me.every);
};
