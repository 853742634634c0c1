"use strict";
// A stub of an Action Cable server:
// https://docs.anycable.io/misc/action_cable_protocol
const http = require("http");
const { WebSocketServer } = require("ws");

exports.server = function (name, ticks) {
  const web = http.createServer((request, response) => response.end());
  const cable = new WebSocketServer({ server: web, path: "/cable", handleProtocols: () => "actioncable-v1-json" });
  cable.on("connection", (client) => {
    const send = (message) => client.send(JSON.stringify(message));
    send({ type: "welcome" });
    const ping = setInterval(() => send({ type: "ping", message: Math.floor(Date.now() / 1000) }), 3000);
    const subscribed = new Set();
    const tick = (n) => subscribed.forEach((identifier) => send({ identifier, message: { n, server: name } }));
    ticks.on("tick", tick);
    client.on("close", () => { ticks.off("tick", tick); clearInterval(ping); });
    client.on("message", (data) => {
      const { command, identifier } = JSON.parse(data);
      if (command === "subscribe") {
        subscribed.add(identifier);
        send({ identifier, type: "confirm_subscription" });
      }
    });
  });
  return { web };
};

const classes = {};

// The clients reconnect as docs/frameworks.md says, or as the library does.
exports.client = function (url, me, byLibrary = false) {
  globalThis.document ||= { visibilityState: "visible" };
  globalThis.addEventListener ||= globalThis.removeEventListener = () => {};
  const cable = require("@rails/actioncable");
  // The library has one class for all; each client has its own.
  classes[me.number] = me.WebSocket;
  cable.adapters.WebSocket = new Proxy(me.WebSocket, { construct: (base, [target, ...rest]) => new classes[target.split("=")[1]](target, ...rest) });
  const consumer = cable.createConsumer(`${url.replace("http", "ws")}/cable?client=${me.number}`);
  consumer.subscriptions.create("Ticks", {
    received: ({ n, server }) => me.event(n, server),
    rejected: () => me.failed("rejected"),
    disconnected({ willAttemptReconnect }) {
      if (!willAttemptReconnect) return me.failed("disconnected");
      if (!byLibrary) setTimeout(() => consumer.connection.open(), 500 + Math.random() * 1500);
    },
  });
};
