"use strict";
// A stub of a STOMP broker: https://stomp.github.io/stomp-specification-1.2.html
const http = require("http");
const { WebSocketServer } = require("ws");

const frame = (command, headers, body = "") => [command, ...Object.entries(headers).map(([name, value]) => `${name}:${value}`), "", body + "\0"].join("\n");

exports.server = function (name, ticks) {
  const web = http.createServer((request, response) => response.end());
  const broker = new WebSocketServer({ server: web, path: "/stomp", handleProtocols: (offered) => offered.has("v12.stomp") && "v12.stomp" });
  broker.on("connection", (client) => {
    const subscriptions = new Map(); // id to destination
    const tick = (n) => subscriptions.forEach((destination, subscription) => client.send(frame("MESSAGE", { subscription, destination, "message-id": n }, `${n} ${name}`)));
    ticks.on("tick", tick);
    const heartbeat = setInterval(() => client.send("\n"), 10000);
    client.on("close", () => { ticks.off("tick", tick); clearInterval(heartbeat); });
    client.on("message", (data) => {
      const [command, ...lines] = String(data).split("\n");
      const headers = Object.fromEntries(lines.slice(0, lines.indexOf("")).map((line) => line.split(":")));
      if (command === "CONNECT") client.send(frame("CONNECTED", { version: "1.2", "heart-beat": "10000,10000" }));
      if (command === "SUBSCRIBE") subscriptions.set(headers.id, headers.destination);
      if (headers.receipt) client.send(frame("RECEIPT", { "receipt-id": headers.receipt }));
    });
  });
  return { web };
};

exports.client = function (url, me) {
  const { Client } = require("@stomp/stompjs");
  const client = new Client({ webSocketFactory: () => new me.WebSocket(url.replace("http", "ws") + "/stomp", ["v12.stomp", "v11.stomp"]) });
  client.onConnect = () => client.subscribe("/topic/ticks", ({ body }) => { const [n, server] = body.split(" "); me.event(Number(n), server); });
  client.onStompError = ({ headers }) => me.failed(headers.message);
  client.activate();
  setInterval(() => client.connected && client.publish({ destination: "/topic/hello", body: "hello" }), 4 * me.every);
};
