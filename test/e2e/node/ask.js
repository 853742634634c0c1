"use strict";
// node ask.js URL opens a WebSocket, sends "hello", and prints the answer.

const WebSocket = require("ws");

const ws = new WebSocket(process.argv[2]);
ws.on("error", (err) => {
  console.error(String(err));
  process.exitCode = 1;
});
ws.on("open", () => ws.send("hello"));
ws.on("message", (data) => {
  process.stdout.write(String(data));
  ws.close(1000);
});
