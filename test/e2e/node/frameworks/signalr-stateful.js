"use strict";
// SignalR with stateful reconnect. Its clients fail if they have to begin a new session.
const signalr = require("./signalr.js");

exports.server = signalr.server;
exports.client = (url, me) => signalr.client(url, me, true);
