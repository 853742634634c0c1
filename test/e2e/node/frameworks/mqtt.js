"use strict";
const http = require("http");
const net = require("net");
const { WebSocketServer, createWebSocketStream } = require("ws");

let first; // the other brokers share its sessions, as those of a cluster do

exports.server = async function (name, ticks) {
  const broker = await require("aedes").Aedes.createBroker({ id: name, ...(first && { mq: first.mq, persistence: first.persistence }) });
  if (!first) {
    first = broker;
    ticks.on("tick", (n) => broker.publish({ topic: "tick", payload: String(n), qos: 1 }));
  }
  broker.on("publish", (packet, client) => {
    if (client && packet.topic.startsWith("ask/")) broker.publish({ topic: packet.topic.replace("ask", "answer"), payload: name, qos: 0 });
  });
  const tcp = net.createServer(broker.handle);
  const web = http.createServer();
  new WebSocketServer({ server: web, path: "/mqtt", handleProtocols: () => "mqtt" }).on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
  return { web, tcp };
};

exports.client = function (url, me) {
  const overTCP = url.startsWith("mqtt:");
  const options = { clientId: `c${me.number}${overTCP ? "tcp" : ""}`, clean: false };
  if (!overTCP) options.createWebsocket = (target, protocols) => new me.WebSocket(target, protocols);
  const client = require("mqtt").connect(overTCP ? url : url.replace("http", "ws") + "/mqtt", options);
  client.on("message", (topic, payload) => topic === "tick" ? me.event(Number(payload)) : me.at(String(payload)));
  client.on("error", me.failed);
  if (overTCP) {
    client.on("close", () => me.closed(0, ""));
    client.on("reconnect", me.opening);
  }
  client.once("connect", () => client.subscribe({ [`answer/${me.number}`]: { qos: 0 }, tick: { qos: 1 } }));
  setInterval(() => client.connected && client.publish(`ask/${me.number}`, ""), 4 * me.every);
};
