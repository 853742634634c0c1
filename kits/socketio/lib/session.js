"use strict";
// What this server knows of one session of the balancer: a client of Socket.IO whose
// connection is a WebSocket.

const { pack } = require("./core/codec");

const VERSION = 1; // of the stored state

// Fields of the request that belong to one connection.
const OWN = /^(connection|upgrade|host|content-|transfer-encoding|sec-websocket-|holdfast-|accept-encoding)/;

class Session {
  // kit is what reattach has made; link is of transports.js.
  constructor(kit, conn, link) {
    const { notice } = link;
    this.kit = kit;
    this.id = notice.session;
    this.move = notice.move;
    this.notice = notice;
    this.link = link;
    this.epoch = 0;
    this.conn = conn;
    this.client = kit.clients.get(conn);
    this.transport = link.transport;
    this.ws = link.ws;
    this.state = "open"; // or arriving, moved, closed
    this.leaving = false; // its state is about to be stored for another server
    this.arrived = null; // of a session from another server: when it is restored or has failed
    this.owed = new Map(); // acks that handlers still have to give, by socket
    this.connects = new Map(); // namespaces that are being connected, with their auth
    this.partial = []; // what has arrived of a message with binary parts
    this.late = []; // packets of the old server that came before the session was restored
    this.saved = ""; // what was saved last, without positions
    this.savedAt = 0;
    this.saving = null;
  }

  owner() {
    return { session: this.id, epoch: this.epoch, server: this.kit.server, move: this.move };
  }

  // watch keeps account of what a snapshot needs and socket.io doesn't tell.
  watch() {
    const { client, conn } = this;
    const { connect, _packet } = client;
    client.connect = (name, auth = {}) => {
      this.connects.set(name, auth);
      return connect.call(client, name, auth);
    };
    client._packet = (packet, opts) => {
      if (packet.type === CONNECT_ERROR) this.connects.delete(packet.nsp);
      return _packet.call(client, packet, opts);
    };
    // A message with binary parts leaves in one piece: a client that has only got its
    // beginning when this server is killed could not go on with another server.
    const { writeToEngine } = client;
    client.writeToEngine = (packets, opts) => {
      const { transport } = conn;
      if (!Array.isArray(packets) || packets.length < 2 || !transport.writable) {
        return writeToEngine.call(client, packets, opts);
      }
      transport.writable = false;
      try {
        writeToEngine.call(client, packets, { ...opts, volatile: false });
      } finally {
        transport.writable = true;
      }
      const { socket } = this.link.request;
      socket.cork();
      conn.flush();
      socket.uncork();
    };
    conn.on("data", (data) => {
      if (client.decoder.reconstructor) this.partial.push(data);
      else this.partial = [];
      this.kit.dirty.add(this);
    });
  }

  // connected is called for each socket, before the application's handlers.
  connected(socket) {
    this.connects.delete(socket.nsp.name);
    const { ack, onack } = socket;
    this.owed.set(socket, 0);
    socket.ack = (id) => {
      const answer = ack.call(socket, id);
      let owes = true;
      this.owed.set(socket, this.owed.get(socket) + 1);
      return (...args) => {
        if (owes) this.owed.set(socket, this.owed.get(socket) - 1);
        owes = false;
        answer(...args);
      };
    };
    socket.onack = (packet) => {
      if (socket.acks.has(packet.id) || !this.kit.post.passAck(this, socket, packet)) onack.call(socket, packet);
    };
    socket.on("disconnect", () => {
      this.owed.delete(socket);
      this.kit.dirty.add(this);
    });
    this.kit.dirty.add(this);
  }

  // busy says whether a handler still has to answer or a namespace to be connected.
  busy() {
    if (this.connects.size > 0) return true;
    for (const n of this.owed.values()) if (n > 0) return true;
    return false;
  }

  // snapshot returns the state without and with the positions in the streams.
  // values are what the application wants to keep, by socket.
  snapshot(values) {
    const { client, conn } = this;
    const sockets = [...client.sockets.values()].map((socket) => ({
      nsp: socket.nsp.name,
      id: socket.id,
      pid: socket.pid,
      rooms: [...socket.rooms].filter((room) => room !== socket.id),
      data: this.storable(socket.data),
      auth: socket.handshake.auth,
      time: socket.handshake.time,
      issued: socket.handshake.issued,
      value: values && values.get(socket),
    }));
    const state = {
      v: VERSION,
      server: this.kit.server,
      engine: conn.id,
      headers: conn.request === this.link.request ? undefined : fields(conn.request.headers),
      sockets,
    };
    const cuts = {};
    for (const { nsp } of sockets) {
      const stream = this.kit.streams.get(nsp);
      if (stream && stream.position) cuts[nsp] = stream.cut();
    }
    return { state, cuts };
  }

  // final is the state with all that is only needed once. If the connection is lost,
  // what is in transit is lost as well, so that the rest of a message is of no use.
  final(values, lost = false) {
    const { state, cuts } = this.snapshot(values);
    const unsent = this.conn.writeBuffer.filter((packet) => packet.type === "message").map((packet) => packet.data);
    while (lost && unsent.length > 0 && typeof unsent[0] !== "string") unsent.shift();
    return pack({
      ...state,
      cuts,
      connects: [...this.connects].filter(([name]) => !this.client.nsps.has(name)),
      partial: lost ? [] : this.partial,
      unsent,
    });
  }

  storable(data) {
    try {
      pack(data);
      return data;
    } catch (error) {
      this.kit.warn(new Error(`socket.data can't be stored, and is lost when the session moves: ${error.message}`));
      return {};
    }
  }

  // save stores the state if it has changed.
  save(values) {
    if (this.state !== "open") return Promise.resolve(true);
    this.saving = (this.saving || Promise.resolve()).catch(() => {}).then(() => this.saveNow(values));
    return this.saving;
  }

  async saveNow(values) {
    if (this.state !== "open") return true;
    if (values === undefined && this.values) values = this.values;
    this.values = values;
    const { state, cuts } = this.snapshot(values);
    const text = pack(state);
    if (text === this.saved) {
      if (Date.now() - this.savedAt > this.kit.options.ttl / 3) {
        await this.kit.store.touch(this.id);
        this.savedAt = Date.now();
      }
      return true;
    }
    const saved = await this.kit.store.save(this.owner(), pack({ ...state, cuts }));
    if (saved) {
      this.saved = text;
      this.savedAt = Date.now();
    }
    return saved;
  }
}

const CONNECT_ERROR = 4; // of socket.io-parser

function fields(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !OWN.test(name)));
}

module.exports = { Session, VERSION };
