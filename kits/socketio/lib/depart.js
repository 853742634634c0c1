"use strict";
// A session leaves this server: the balancer has sent all that the client has sent
// before, and sends nothing more.

const { bounded } = require("./core/redis");

const immediate = () => new Promise((done) => setImmediate(done));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const MOVED = "moved"; // the reason of the event "disconnect"
const SERVICE_RESTART = 1012; // the code of the Close with which a session leaves
const TRIES = 3; // to store the state
const STATE_LOST = 4500; // passed on to the client, which connects again

// depart lets handlers finish, stores the state and closes the connection.
async function depart(kit, session) {
  await session.arrived; // it may have to leave as soon as it has come
  if (session.state !== "open" || session.leaving) return;
  session.leaving = true;
  // Packets that have arrived are dispatched by process.nextTick.
  await immediate();
  const end = Date.now() + kit.options.finish;
  while (session.busy() && Date.now() < end) await sleep(5);
  const values = await applicationState(kit, session);
  await immediate(); // for an exact cut, see streams.js
  if (session.state !== "open" || session.conn.readyState !== "open") return;

  // From here to the end of cut, nothing else runs.
  const text = session.final(values);
  session.state = "moved";
  const entry = kit.post.leave(session);
  cut(session);

  let saved = false;
  try {
    await session.saving;
  } catch {} // of an earlier state
  for (let tries = 1; ; tries++) {
    try {
      saved = await kit.store.save(session.owner(), text, true);
      break;
    } catch (error) {
      // After the balancer's own Close, another server has the last state that was saved.
      if (tries < TRIES && session.ws.readyState === session.ws.OPEN) {
        await sleep(100);
        continue;
      }
      kit.warn(new Error(`the state of a session that leaves wasn't stored: ${error.message}`));
      kit.post.forget(entry);
      session.ws.close(STATE_LOST, "state lost");
      return;
    }
  }
  // If it wasn't saved, another server has claimed the session already.
  session.ws.close(SERVICE_RESTART, "session moved");
  kit.emit("leave", session.id, saved);
}

// cut takes the session's sockets out of their namespaces.
function cut(session) {
  const { client, conn } = session;
  for (const socket of [...client.sockets.values()]) {
    socket.moved = true;
    const id = socket.id;
    const { nsp } = socket;
    socket._onclose(MOVED);
    // Handlers that are still running reach the socket on its new server.
    socket.join = (rooms) => nsp.in(id).socketsJoin(rooms);
    socket.leave = (room) => nsp.in(id).socketsLeave(room);
    socket.disconnect = (close) => {
      nsp.in(id).disconnectSockets(close);
      return socket;
    };
  }
  conn.writeBuffer = []; // it is in the state
  session.link.keep = true;
  conn.onClose(MOVED); // ends the timers, and leaves the WebSocket open
}

// applicationState calls the application's save for each socket.
async function applicationState(kit, session) {
  const { save } = kit.options;
  if (!save) return undefined;
  const values = new Map();
  await Promise.all([...session.client.sockets.values()].map(async (socket) => {
    try {
      values.set(socket, await bounded(Promise.resolve().then(() => save(socket)), kit.patience, "save of the application"));
    } catch (error) {
      kit.warn(new Error(`the application's state of a socket is lost: ${error.message}`));
    }
  }));
  return values;
}

// lost saves the state of a session whose connection has ended without a Close: the
// balancer may send it again, also here.
function lost(kit, session) {
  const text = session.final(session.values, true);
  session.state = "closed";
  kit.post.leave(session);
  return kit.store.save(session.owner(), text).catch((error) => kit.warn(error));
}

module.exports = { depart, lost, applicationState, MOVED };
