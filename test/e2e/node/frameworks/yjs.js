"use strict";
// y-websocket with its own server, which keeps documents in memory only.
const http = require("http");
const Module = require("module");
const { WebSocketServer } = require("ws");

exports.forked = true; // its documents are a global

exports.server = function (name) {
  // Its database is an optional dependency, which would have to be compiled.
  const load = Module._load;
  Module._load = (request, ...rest) => request === "y-leveldb" ? {} : load(request, ...rest);
  const { setupWSConnection } = require("@y/websocket-server/utils");
  Module._load = load;
  const web = http.createServer((request, response) => response.end());
  new WebSocketServer({ server: web }).on("connection", (client, request) => {
    setupWSConnection(client, request);
    client.send(Buffer.from([42, ...Buffer.from(name)])); // a kind of message of our own
  });
  return { web };
};

exports.client = function (url, me) {
  const Y = require("yjs");
  const { WebsocketProvider } = require("y-websocket");
  const doc = new Y.Doc();
  const provider = new WebsocketProvider(url.replace("http", "ws"), "rooms/plan", doc, { WebSocketPolyfill: me.WebSocket, disableBc: true });
  exports.edit(doc, me);
  provider.messageHandlers[42] = (encoder, decoder) => me.at(Buffer.from(decoder.arr.subarray(decoder.pos)).toString());
};

// edit has each client append numbers to a shared list, also while it isn't connected, and
// look for those of the others.
exports.edit = function (doc, me) {
  const list = doc.getArray("list");
  list.observe(({ changes }) => changes.delta.forEach(({ insert = [] }) => insert.forEach(([source, n]) => {
    if (source !== me.number) me.event(n, undefined, source);
  })));
  let n = 0;
  setInterval(() => list.push([[me.number, ++n]]), 4 * me.every);
};
