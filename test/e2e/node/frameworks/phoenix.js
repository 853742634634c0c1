"use strict";
// A stub of a Phoenix server with one channel, in version 2 of its JSON serializer:
// https://hexdocs.pm/phoenix/writing_a_channels_client.html
const http = require("http");
const { WebSocketServer } = require("ws");

exports.server = function (name, ticks) {
  const web = http.createServer((request, response) => response.end());
  new WebSocketServer({ server: web, path: "/socket/websocket" }).on("connection", (client) => {
    const joined = new Map(); // topic to join_ref
    const tick = (n) => joined.forEach((ref, topic) => client.send(JSON.stringify([ref, null, topic, "tick", { n, server: name }])));
    ticks.on("tick", tick);
    client.on("close", () => ticks.off("tick", tick));
    client.on("message", (data) => {
      const [joinRef, ref, topic, event] = JSON.parse(data);
      if (event === "phx_join") joined.set(topic, joinRef);
      if (event === "phx_leave") joined.delete(topic);
      client.send(JSON.stringify([joinRef, ref, topic, "phx_reply", { status: "ok", response: {} }]));
    });
  });
  return { web };
};

exports.client = function (url, me) {
  const { Socket } = require("phoenix");
  const socket = new Socket(url.replace("http", "ws") + "/socket", { transport: me.WebSocket });
  socket.connect();
  const channel = socket.channel("room:lobby");
  channel.on("tick", ({ n, server }) => me.event(n, server));
  channel.join().receive("error", me.failed);
  setInterval(() => channel.state === "joined" && channel.push("hello", {}), 4 * me.every);
};
