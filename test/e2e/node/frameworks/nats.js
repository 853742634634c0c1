"use strict";
// Its servers are the real ones, which the test starts.

const { wsconnect } = require("@nats-io/nats-core");

async function connect(url, WebSocket, more) {
  return wsconnect({ servers: url, wsFactory: async (target) => ({ socket: new WebSocket(target), encrypted: false }), maxReconnectAttempts: -1, ...more });
}

exports.client = async function (url, me) {
  if (me.number === 0) publish(me.every);
  const nats = await connect(url.replace("http", "ws"), me.WebSocket);
  nats.closed().then((error) => me.failed(error || "closed"));
  for await (const message of nats.subscribe("tick")) me.event(Number(message.string()), nats.info.server_name);
};

async function publish(every) {
  const nats = await connect(process.env.NATS_PUBLISH_TO, require("ws").WebSocket);
  let n = 0;
  setInterval(() => nats.publish("tick", String(++n)), every);
}
