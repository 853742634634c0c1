"use strict";
// The protocol graphql-ws, by its library subscriptions-transport-ws.
const graphql = require("graphql");
const { schema, events, web } = require("./graphql.js");
const { SubscriptionServer, SubscriptionClient } = require("subscriptions-transport-ws");

exports.server = function (name, ticks) {
  const server = web();
  const rootValue = { tick: () => events(name, ticks) };
  SubscriptionServer.create({ schema: schema(), execute: graphql.execute, subscribe: graphql.subscribe, rootValue }, { server, path: "/graphql" });
  return { web: server };
};

exports.client = function (url, me) {
  const client = new SubscriptionClient(url.replace("http", "ws") + "/graphql", { reconnect: true }, me.WebSocket);
  client.request({ query: "subscription { tick { n server } }" }).subscribe({
    next: ({ data }) => me.event(data.tick.n, data.tick.server),
    error: me.failed,
    complete: () => me.failed("completed"),
  });
};
