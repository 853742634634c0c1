"use strict";
const { edit } = require("./yjs.js");

exports.forked = true; // a crash has to take its documents with it

exports.server = async function (name) {
  const { Server } = await import("@hocuspocus/server");
  const server = new Server({ quiet: true, stopOnSignals: false, async connected({ connection }) { connection.sendStateless(name); } });
  return { web: server.httpServer };
};

exports.client = function (url, me) {
  const Y = require("yjs");
  const { HocuspocusProvider, HocuspocusProviderWebsocket } = require("@hocuspocus/provider");
  const document = new Y.Doc();
  const websocketProvider = new HocuspocusProviderWebsocket({ url: url.replace("http", "ws") + "/collaboration?room=plan", WebSocketPolyfill: me.WebSocket });
  const provider = new HocuspocusProvider({ websocketProvider, name: "plan", document, onStateless: ({ payload }) => me.at(payload) });
  provider.attach();
  edit(document, me);
};
