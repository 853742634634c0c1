// node client.js URL [TEXT]: says TEXT in the room of server.js, and shows what is said.
import { Client } from "holdfast-client";
import { WebSocket } from "ws"; // pages, and Node from version 22 on, have their own

const [url, text] = process.argv.slice(2);
const client = new Client({ url, WebSocket });

client.on("state", (state) => {
  if (state.name === "open") console.log("connected");
  if (state.name === "waiting") console.log(`connection lost (${state.code}), next attempt in ${Math.round(state.delay)} ms`);
  if (state.name === "closed") console.log(`closed: ${state.code} ${state.reason}`);
});
client.on("message", (message) => console.log(`${message.id}: ${message.text}`));
client.on("gap", () => console.log("messages are missing here"));
client.on("acknowledged", () => console.log("the room has it"));

if (text) client.send({ text }); // sent again until it is acknowledged
