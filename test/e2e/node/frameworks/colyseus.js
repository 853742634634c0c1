"use strict";
const http = require("http");
const { AsyncLocalStorage } = require("async_hooks");

exports.forked = true; // its rooms are a global

exports.server = async function (name, ticks) {
  globalThis.WebSocket ||= require("ws").WebSocket; // Node has one from 22 on
  const { Server, Room, matchMaker } = require("@colyseus/core");
  const { WebSocketTransport } = require("@colyseus/ws-transport");
  const web = http.createServer();
  const game = new Server({ transport: new WebSocketTransport({ server: web }), greet: false, gracefullyShutdown: false, logger: silent });
  game.define("world", class extends Room {
    onCreate() {
      this.autoDispose = false;
      const tick = (n) => this.broadcast("tick", { n, server: name });
      ticks.on("tick", tick);
      this.onMessage("hello", () => {});
    }
    onDrop(client) {
      return this.allowReconnection(client, 10);
    }
  });
  await game.listen(0, "127.0.0.1");
  // How the balancer learns whose rooms these are.
  web.prependListener("request", (request, response) => response.setHeader("X-Process", matchMaker.processId));
  return { web };
};

const silent = { debug() {}, info() {}, trace() {}, warn() {}, error() {} };
const clients = new AsyncLocalStorage();

exports.client = function (url, me) {
  console.info = console.warn = () => {};
  // The library takes the global one; each client has its own class.
  globalThis.WebSocket ||= new Proxy(me.WebSocket, { construct: (base, args) => new (clients.getStore().WebSocket)(...args) });
  clients.run(me, () => join(url, me));
};

async function join(url, me) {
  const { Client } = require("@colyseus/sdk");
  try {
    const room = await new Client(url).joinOrCreate("world");
    room.reconnection.minUptime = 0; // otherwise it has to be 5 s old
    let hello;
    room.onMessage("tick", ({ n, server }) => me.event(n, server, room.roomId));
    room.onLeave(() => {
      clearInterval(hello);
      setTimeout(join, 500 + Math.random() * 1000, url, me);
    });
    hello = setInterval(() => room.send("hello"), 4 * me.every);
  } catch (error) {
    me.failed(error);
  }
}
