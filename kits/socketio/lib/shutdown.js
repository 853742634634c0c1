"use strict";
// The end of a server: first its health checks fail, so that the balancer moves its
// sessions away, and then it closes what is left.

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(ms, done) {
  for (const end = Date.now() + ms; !done() && Date.now() < end; ) await sleep(50);
  return done();
}

// shutdown resolves when nothing is left of the server.
async function shutdown(kit, { notice = 15_000, spread = 8_000, callbacks = 5_000 } = {}) {
  const { io } = kit;
  kit.draining = true;
  const empty = () => io.engine.clientsCount === 0;
  await until(notice, () => kit.reported && empty());
  kit.closing = true;
  // Those that are left have not been moved: they poll, or no other server takes them.
  const rest = Object.values(io.engine.clients);
  for (const [i, conn] of rest.entries()) {
    if (i > 0) await sleep(spread / rest.length);
    conn.close();
  }
  await until(2000, empty);
  await until(callbacks, () => kit.post.waiting() === 0);
  // With socket.io 4.8.2, close fails if the application has closed its HTTP server itself.
  await io.close().catch((error) => {
    if (error.code !== "ERR_SERVER_NOT_RUNNING") throw error;
  });
  kit.stop();
}

module.exports = { shutdown };
