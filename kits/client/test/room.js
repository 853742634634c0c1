// The example's server with what can go wrong.
import { readFile } from "node:fs/promises";
import { createRoom } from "../example/server.js";

const files = {
  "/": ["text/html", `<!doctype html><title>test</title>`],
  "/client.js": ["text/javascript", await readFile(new URL("../dist/index.js", import.meta.url))],
};

export async function startRoom() {
  const { http, server, history } = createRoom();
  http.removeAllListeners("request");
  http.on("request", ({ url }, response) => {
    const [type, body] = files[url] ?? ["text/plain", ""];
    response.writeHead(body ? 200 : 404, { "Content-Type": type }).end(body);
  });
  await new Promise((done) => http.listen(0, "127.0.0.1", done));
  const { port } = http.address();
  return {
    history, server,
    page: `http://127.0.0.1:${port}/`,
    url: `ws://127.0.0.1:${port}/ws`,
    // cut ends all connections as a crash does.
    cut() { for (const socket of server.clients) socket.terminate(); },
    // mute has the current connections say and read nothing, but stay open.
    mute() { for (const socket of server.clients) { socket.pause(); socket.send = () => {}; } },
    async stop() {
      this.cut();
      http.closeAllConnections();
      await new Promise((done) => http.close(done));
    },
  };
}
