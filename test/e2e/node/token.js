"use strict";
// node token.js ADDRESS TOKEN opens a WebSocket as a page does that can't set headers:
// the token is among the subprotocols. It says hello, waits for the end, and prints as one
// line of JSON which subprotocol was chosen, what came back, and how it ended.

const WebSocket = require("ws");

const [address, token] = process.argv.slice(2);
const ws = new WebSocket(`ws://${address}/`, ["bearer", token]);
const seen = { messages: [] };
ws.on("open", () => {
  seen.protocol = ws.protocol;
  ws.send("hello");
});
ws.on("message", (data) => seen.messages.push(String(data)));
ws.on("unexpected-response", (req, res) => {
  console.log(JSON.stringify({ status: res.statusCode, challenge: res.headers["www-authenticate"] }));
  process.exit();
});
ws.on("close", (code, reason) => console.log(JSON.stringify({ ...seen, code, reason: String(reason) })));
ws.on("error", (err) => {
  console.error(String(err));
  process.exitCode = 1;
});
