"use strict";
// A session comes from another server: its sockets are made again, and the client
// isn't told.

const { BEGIN } = require("./core/notice");
const { bounded } = require("./core/redis");
const { unpack } = require("./core/codec");
const { VERSION } = require("./session");
const { compare, replay } = require("./streams");

const DISCONNECT = 1; // of socket.io-parser
const UNKNOWN = 4404; // passed on to the client, which connects again
const TRY_ANOTHER = 1011; // the balancer looks for another server

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const immediate = () => new Promise((done) => setImmediate(done));

// arrive waits for the notice that the old server has closed the session. Until then,
// nothing is sent: the transport isn't writable.
function arrive(kit, session) {
  session.state = "arriving";
  const { client, conn, ws } = session;
  session.held = [];
  conn.removeListener("data", client.ondata);
  const hold = (data) => {
    session.held.push(data);
    ws.pause();
  };
  conn.on("data", hold);
  ws.on("ping", (payload) => {
    if (String(payload) !== BEGIN || session.begun) return;
    session.begun = true;
    session.arrived = restore(kit, session, hold).catch((error) => {
      kit.warn(new Error(`a session couldn't be restored: ${error.message}`));
      if (kit.sessions.get(session.id) === session) kit.sessions.delete(session.id);
      session.state = "closed";
      ws.resume();
      ws.close(TRY_ANOTHER, "state unavailable");
    });
  });
}

async function restore(kit, session, hold) {
  const { client, conn, ws, notice } = session;
  const claim = await kit.store.claim(session.id, kit.server, session.move);
  if (!claim || claim.superseded) {
    session.state = "closed";
    ws.resume();
    ws.close(UNKNOWN, "session unknown");
    return;
  }
  session.epoch = claim.epoch;
  kit.sessions.set(session.id, session);
  kit.post.claimed(session, claim.previous);
  const state = unpack(claim.state);
  if (state.v !== VERSION) throw new Error(`its state has the version ${state.v}, not ${VERSION}`);
  const cuts = claim.final ? state.cuts : await laterCuts(kit, state);

  const info = Object.freeze({ reason: notice.reason, from: notice.from, move: notice.move });
  const arrivals = await prepareAll(kit, session, state.sockets, cuts, info);
  const end = Date.now() + kit.patience;
  do {
    await immediate(); // for an exact cut, see streams.js
    if (arrivals.every(({ missed }) => !missed || missed.ready())) break;
    await sleep(1);
  } while (Date.now() < end);
  // From here to the end, nothing else runs.
  const { transport } = session;
  if (conn.readyState !== "open") {
    // The client left meanwhile. The application sees its sockets come and go.
    transport.writable = false;
  } else {
    conn.writeBuffer = []; // the greeting
    conn.packetsFn = [];
    transport.writable = true;
    // Clients give up when pings don't come in time, counted from the last one.
    conn.sendPacket("ping");
    conn.resetPingTimeout();
  }
  for (const data of state.unsent || []) conn.write(data);
  clearTimeout(client.connectTimeout);
  client.connectTimeout = undefined;
  session.state = "open";
  session.values = new Map(arrivals.filter(({ socket }) => socket).map(({ socket, saved }) => [socket, saved.value]));
  for (const arrival of arrivals) if (!arrival.refused) join(kit, session, arrival);
  for (const packets of session.late.splice(0)) client.writeToEngine(packets, {});
  for (const arrival of arrivals) announce(kit, client, arrival, info);

  conn.removeListener("data", hold);
  if (!claim.final) dropRest(client);
  // Listeners in the order of a new connection: the client's, then that of watch.
  conn.prependListener("data", client.ondata);
  for (const data of [...(state.partial || []), ...session.held.splice(0)]) {
    if (conn.readyState === "open") conn.emit("data", data);
  }
  for (const [name, auth] of state.connects || []) client.connect(name, auth);
  ws.resume();
  if (conn.readyState === "open") {
    kit.save(session, session.values);
    return;
  }
  kit.closed(session, "transport close");
  client.onclose("transport close");
}

// dropRest drops the rest of a message whose beginning was lost with the old server.
function dropRest(client) {
  const { ondata } = client;
  let rest = true;
  client.ondata = (data) => {
    rest &&= typeof data !== "string";
    if (!rest) ondata(data);
  };
}

// prepareAll prepares all sockets, or cleans up and throws.
async function prepareAll(kit, session, sockets, cuts, info) {
  const results = await Promise.allSettled(sockets.map((saved) => prepare(kit, session, saved, cuts[saved.nsp], info)));
  const failed = results.find(({ status }) => status === "rejected");
  if (!failed) return results.map(({ value }) => value);
  for (const { value } of results) {
    if (!value || value.refused) continue;
    value.nsp._preConnectSockets.delete(value.socket.id);
    if (value.missed) value.missed.end();
  }
  throw failed.reason;
}

// prepare makes a socket again, and runs its middlewares.
async function prepare(kit, session, saved, cut, info) {
  const { io } = kit;
  const nsp = io._nsps.get(saved.nsp) || (await dynamic(io, saved.nsp, saved.auth));
  if (!nsp) return { saved, refused: true };
  const stream = await kit.streamOf(nsp);
  const socket = await nsp._createSocket(session.client, {});
  Object.assign(socket, { id: saved.id, pid: saved.pid, data: saved.data || {}, recovered: true, reattached: info });
  Object.assign(socket.handshake, { auth: saved.auth, time: saved.time, issued: saved.issued });
  nsp._preConnectSockets.set(socket.id, socket);
  const recovery = io.opts.connectionStateRecovery;
  const leave = () => nsp._preConnectSockets.delete(socket.id);
  try {
    if (!recovery || !recovery.skipMiddlewares) {
      await bounded(new Promise((done, refuse) => nsp.run(socket, (error) => (error ? refuse(error) : done()))), kit.patience, "middlewares");
    }
  } catch {
    leave();
    return { saved, nsp, refused: true };
  }
  const { restore } = kit.options;
  try {
    if (restore) await bounded(Promise.resolve().then(() => restore(socket, saved.value)), kit.patience, "restore of the application");
    return { saved, nsp, socket, missed: cut ? await stream.missed(cut) : null };
  } catch (error) {
    leave();
    throw error;
  }
}

function dynamic(io, name, auth) {
  return new Promise((done) => {
    io._checkNamespace(name, auth, (found) => done(found ? io.of(name) : null));
  });
}

// join adds a socket to its namespace and rooms, and sends what it has missed.
function join(kit, session, arrival) {
  const { saved, nsp, socket, missed } = arrival;
  const rooms = new Set([...saved.rooms, socket.id]);
  const recovery = kit.io.opts.connectionStateRecovery;
  const { packets, disconnect } = replay(missed ? missed.take() : [], rooms, recovery);
  arrival.disconnect = disconnect;
  nsp._preConnectSockets.delete(socket.id);
  nsp.sockets.set(socket.id, socket);
  session.client.sockets.set(socket.id, socket);
  session.client.nsps.set(nsp.name, socket);
  socket.connected = true;
  nsp.adapter.addAll(socket.id, rooms);
  for (const packet of packets) socket.packet(packet);
}

// announce tells the application of a socket, or the client that it was refused.
function announce(kit, client, { saved, nsp, socket, refused, disconnect }, info) {
  if (refused) {
    client._packet({ type: DISCONNECT, nsp: saved.nsp });
    return;
  }
  nsp.emitReserved("connect", socket);
  nsp.emitReserved("connection", socket);
  kit.emit("reattach", socket, info);
  if (disconnect) socket.disconnect(disconnect === "connection");
}

// laterCuts returns the positions of a server that is lost: those of the session's
// last state, or those that the server has saved since.
async function laterCuts(kit, state) {
  const text = await kit.store.loadServer(state.server);
  const server = text ? JSON.parse(text) : {};
  const cuts = { ...state.cuts };
  for (const [nsp, cut] of Object.entries(server)) {
    if (cuts[nsp] && compare(cut.position, cuts[nsp].position) > 0) cuts[nsp] = cut;
  }
  return cuts;
}

module.exports = { arrive };
