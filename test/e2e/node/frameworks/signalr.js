"use strict";
// A stub of a SignalR server in its JSON protocol:
// https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/TransportProtocols.md
// https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md
const http = require("http");
const { randomBytes } = require("crypto");
const { WebSocketServer } = require("ws");

const end = "\x1e"; // of each record

exports.server = function (name, ticks) {
  const tokens = new Set();
  const web = http.createServer((request, response) => {
    if (!request.url.startsWith("/hub/negotiate")) return response.end();
    const id = () => randomBytes(16).toString("base64url");
    const connectionToken = id();
    tokens.add(connectionToken);
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ connectionToken, connectionId: id(), negotiateVersion: 1, availableTransports: [{ transport: "WebSockets", transferFormats: ["Text", "Binary"] }] }));
  });
  const hub = new WebSocketServer({ noServer: true });
  web.on("upgrade", (request, socket, head) => {
    const id = new URL(request.url, "http://hub").searchParams.get("id");
    // Only the server that has made the token knows it.
    if (!tokens.delete(id)) return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    hub.handleUpgrade(request, socket, head, (client) => client.on("message", (data) => {
      for (const record of String(data).split(end).slice(0, -1).map(JSON.parse)) {
        if (record.protocol) {
          client.send("{}" + end);
          const tick = (n) => client.send(JSON.stringify({ type: 1, target: "tick", arguments: [n, name] }) + end);
          ticks.on("tick", tick);
          const ping = setInterval(() => client.send('{"type":6}' + end), 15000);
          client.on("close", () => { ticks.off("tick", tick); clearInterval(ping); });
        } else if (record.type === 1 && record.invocationId) {
          client.send(JSON.stringify({ type: 3, invocationId: record.invocationId, result: name }) + end);
        }
      }
    }));
  });
  return { web };
};

exports.client = function (url, me) {
  const { HubConnectionBuilder, LogLevel } = require("@microsoft/signalr");
  const hub = new HubConnectionBuilder().withUrl(url + "/hub", { WebSocket: me.WebSocket }).withAutomaticReconnect().configureLogging(LogLevel.None).build();
  hub.on("tick", (n, server) => me.event(n, server));
  hub.onclose(me.failed);
  hub.start().catch(me.failed);
  setInterval(() => hub.state === "Connected" && hub.invoke("who").catch(() => {}), 4 * me.every);
};
