"use strict";
// The protocol graphql-transport-ws, by its library graphql-ws.
const http = require("http");
const { WebSocketServer } = require("ws");

exports.schema = () => require("graphql").buildSchema("type Query { server: String } type Event { n: Int, server: String } type Subscription { tick: Event }");

// events are the results of a subscription.
exports.events = async function* (name, ticks) {
  const queue = [];
  let wake = () => {};
  const push = (n) => { queue.push({ tick: { n, server: name } }); wake(); };
  ticks.on("tick", push);
  try {
    for (;;) {
      while (queue.length) yield queue.shift();
      await new Promise((done) => (wake = done));
    }
  } finally {
    ticks.off("tick", push);
  }
};

exports.web = () => http.createServer((request, response) => {
  response.setHeader("Content-Type", "application/json");
  response.end('{"data":{"__typename":"Query"}}');
});

exports.server = function (name, ticks) {
  const { useServer } = require("graphql-ws/use/ws");
  const web = exports.web();
  useServer({ schema: exports.schema(), roots: { subscription: { tick: () => exports.events(name, ticks) } } }, new WebSocketServer({ server: web, path: "/graphql" }));
  return { web };
};

exports.client = function (url, me) {
  const graphql = require("graphql-ws").createClient({ url: url.replace("http", "ws") + "/graphql", webSocketImpl: me.WebSocket, retryAttempts: 100 });
  graphql.subscribe({ query: "subscription { tick { n server } }" }, {
    next: ({ data }) => me.event(data.tick.n, data.tick.server),
    error: (error) => me.failed(error.code || error),
    complete: () => me.failed("completed"),
  });
};
