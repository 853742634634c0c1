"use strict";
// Health checks: 200, or 503 once the shutdown has begun. A kit has draining, and
// reported, which becomes true with the first 503.

// serveHealth answers requests for path before the other listeners of an HTTP server.
function serveHealth(kit, server, path) {
  const listeners = server.listeners("request").slice();
  server.removeAllListeners("request");
  server.on("request", (request, response) => {
    if (request.url.split("?", 1)[0] === path) return answerHealth(kit, request, response);
    for (const listener of listeners) listener.call(server, request, response);
  });
}

function answerHealth(kit, request, response) {
  if (kit.draining) kit.reported = true;
  const status = kit.draining ? 503 : 200;
  response.writeHead(status, { "Content-Type": "text/plain", "Cache-Control": "no-store" }).end(kit.draining ? "draining\n" : "ok\n");
}

module.exports = { serveHealth, answerHealth };
