"use strict";
// Servers and clients of the recipes in docs/recipes.md, made of their own libraries.
//
//   node frameworks.js servers KIND NAME...     starts a server for each name
//   node frameworks.js clients KIND URL N       starts N clients, which never give up
//
// KIND is socketio, graphql or mqtt. Both print events as lines of JSON: of a server
// "listening" with name and address (and tcp, of mqtt); of a client "at", with the client's
// number and the name of the server that answers it, whenever that changes, and "failed"
// if its library gives up. Clients ask all the time.

const http = require("http");
const net = require("net");
const { WebSocketServer, WebSocket, createWebSocketStream } = require("ws");

const print = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const every = 50; // ms between two questions of a client

function listen(server, name, more = {}) {
  server.listen(0, "127.0.0.1", () => print({ event: "listening", name, address: `127.0.0.1:${server.address().port}`, ...more }));
}

// at prints where a client is, if that is new.
const places = new Map();
function at(client, server) {
  if (places.get(client) === server) return;
  places.set(client, server);
  print({ event: "at", client, server });
}

const servers = {
  socketio(name) {
    const server = http.createServer((request, response) => response.writeHead(404).end());
    new (require("socket.io").Server)(server).on("connection", (socket) => socket.on("who", (answer) => answer(name)));
    listen(server, name);
  },

  graphql(name) {
    const { buildSchema } = require("graphql");
    const { useServer } = require("graphql-ws/use/ws");
    const server = http.createServer((request, response) => {
      response.setHeader("Content-Type", "application/json");
      response.end('{"data":{"__typename":"Query"}}');
    });
    async function* ticks() {
      for (;;) {
        yield { server: name };
        await new Promise((done) => setTimeout(done, every));
      }
    }
    const schema = buildSchema("type Query { server: String } type Subscription { server: String }");
    useServer({ schema, roots: { subscription: { server: ticks } } }, new WebSocketServer({ server, path: "/graphql" }));
    listen(server, name);
  },

  async mqtt(name) {
    const broker = await require("aedes").Aedes.createBroker();
    broker.on("publish", (packet, client) => {
      if (client && packet.topic.startsWith("ask/")) broker.publish({ topic: packet.topic.replace("ask", "answer"), payload: name, qos: 0 });
    });
    const tcp = net.createServer(broker.handle);
    tcp.listen(0, "127.0.0.1", () => {
      const web = http.createServer();
      const sockets = new WebSocketServer({ server: web, path: "/mqtt", handleProtocols: () => "mqtt" });
      sockets.on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
      listen(web, name, { tcp: `127.0.0.1:${tcp.address().port}` });
    });
  },
};

const clients = {
  // One of two begins with long polling, as browsers do, and keeps the cookie.
  socketio(url, client) {
    const how = client % 2 ? { transports: ["websocket"] } : { withCredentials: true };
    const socket = require("socket.io-client").io(url, { ...how, forceNew: true });
    socket.on("connect_error", (error) => { if (!socket.active) print({ event: "failed", client, error: String(error) }); });
    setInterval(() => socket.connected && socket.timeout(2000).emit("who", (error, server) => { if (!error) at(client, server); }), every);
  },

  graphql(url, client) {
    const { createClient } = require("graphql-ws");
    const graphql = createClient({ url: url.replace("http", "ws") + "/graphql", webSocketImpl: WebSocket, retryAttempts: 100 });
    graphql.subscribe({ query: "subscription { server }" }, {
      next: (result) => at(client, result.data.server),
      error: (error) => print({ event: "failed", client, error: `${error.code || error}` }),
      complete: () => print({ event: "failed", client, error: "completed" }),
    });
  },

  mqtt(url, client) {
    const mqtt = require("mqtt").connect(/^mqtt/.test(url) ? url : url.replace("http", "ws") + "/mqtt", { clientId: `c${client}`, clean: false, reconnectPeriod: 500 });
    mqtt.on("message", (topic, payload) => at(client, payload.toString()));
    mqtt.on("error", (error) => print({ event: "failed", client, error: String(error) }));
    mqtt.on("connect", () => mqtt.subscribe(`answer/${client}`));
    setInterval(() => mqtt.connected && mqtt.publish(`ask/${client}`, ""), every);
  },
};

const [, , role, kind, ...rest] = process.argv;
if (role === "servers") {
  rest.forEach((name) => servers[kind](name));
} else {
  for (let client = 0; client < Number(rest[1]); client++) clients[kind](rest[0], client);
}
