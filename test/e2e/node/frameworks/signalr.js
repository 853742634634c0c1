"use strict";
// A stub of a SignalR server in its JSON protocol, with stateful reconnect:
// https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/TransportProtocols.md
// https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md
const http = require("http");
const { randomBytes } = require("crypto");
const { WebSocketServer } = require("ws");

const end = "\x1e"; // of each record
const newID = () => randomBytes(16).toString("base64url");

// Session is a connection of the protocol. With stateful reconnect, it survives its WebSocket.
class Session {
  constructor(stateful, name, ticks) {
    Object.assign(this, { stateful, name, ticks, sent: 0, unacknowledged: [] });
    this.tick = (n) => this.send({ type: 1, target: "tick", arguments: [n, name] });
  }

  attach(socket) {
    this.socket = socket;
    const ping = setInterval(() => this.write({ type: 6 }), 15000);
    socket.on("message", (data) => String(data).split(end).slice(0, -1).forEach((record) => this.receive(JSON.parse(record))));
    socket.on("close", () => {
      clearInterval(ping);
      if (!this.stateful) this.ticks.off("tick", this.tick);
    });
  }

  write(record) {
    this.socket.send(JSON.stringify(record) + end, () => {}); // its end is no error here
  }

  // send sends a record that is numbered and, with stateful reconnect, kept until the client
  // has acknowledged it.
  send(record) {
    this.sent++;
    if (this.stateful) this.unacknowledged.push(record);
    this.write(record);
  }

  receive(record) {
    if (record.protocol) {
      this.write({});
      this.ticks.on("tick", this.tick);
    } else if (record.type === 1 && record.invocationId) {
      this.send({ type: 3, invocationId: record.invocationId, result: this.name });
    } else if (record.type === 8) {
      this.unacknowledged.splice(0, record.sequenceId - (this.sent - this.unacknowledged.length));
    } else if (record.type === 9) {
      this.write({ type: 9, sequenceId: this.sent - this.unacknowledged.length + 1 });
      this.unacknowledged.forEach((again) => this.write(again));
    }
  }
}

exports.server = function (name, ticks) {
  const sessions = new Map(); // by token; only the server that has made it knows it
  const web = http.createServer((request, response) => {
    if (!request.url.startsWith("/hub/negotiate")) return response.end();
    const useStatefulReconnect = request.url.includes("useStatefulReconnect=true");
    const connectionToken = newID();
    sessions.set(connectionToken, new Session(useStatefulReconnect, name, ticks));
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ connectionToken, connectionId: newID(), negotiateVersion: 1, useStatefulReconnect, availableTransports: [{ transport: "WebSockets", transferFormats: ["Text", "Binary"] }] }));
  });
  const hub = new WebSocketServer({ noServer: true });
  web.on("upgrade", (request, socket, head) => {
    const session = sessions.get(new URL(request.url, "http://hub").searchParams.get("id"));
    if (!session || session.socket && !session.stateful) return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    hub.handleUpgrade(request, socket, head, (client) => session.attach(client));
  });
  return { web };
};

exports.client = function (url, me, stateful = false) {
  const { HubConnectionBuilder, LogLevel } = require("@microsoft/signalr");
  const builder = new HubConnectionBuilder().withUrl(url + "/hub", { WebSocket: me.WebSocket }).withAutomaticReconnect().configureLogging(LogLevel.None);
  const hub = (stateful ? builder.withStatefulReconnect() : builder).build();
  hub.on("tick", (n, server) => me.event(n, server));
  hub.onclose(me.failed);
  if (stateful) hub.onreconnecting(me.failed);
  hub.start().catch(me.failed);
  setInterval(() => hub.state === "Connected" && hub.invoke("who").catch(() => {}), 4 * me.every);
};
