"use strict";

const { EventEmitter } = require("events");
const { randomInt } = require("crypto");
const { Redis } = require("./core/redis");
const { Store } = require("./core/store");
const { Mail } = require("./core/mail");
const { unpack } = require("./core/codec");
const { truster } = require("./core/notice");
const { Session } = require("./session");
const { Stream } = require("./streams");
const { Post, number, SERVERS } = require("./post");
const { check, checkAdapter } = require("./versions");
const { hook } = require("./transports");
const { arrive } = require("./arrive");
const { depart, lost, applicationState } = require("./depart");
const { serveHealth } = require("./core/health");
const { shutdown } = require("./shutdown");

const SAVE_EVERY = 100; // ms between two looks for states that have changed
const SWEEP = 100; // looks in which each session is looked at once, changed or not
const POSITIONS_EVERY = 50; // ms between two saves of the server's positions
const WARN_EVERY = 10_000; // ms between two equal warnings

const clients = new WeakMap(); // socket.io's clients, by connection of engine.io
const recorded = Symbol("holdfast");

// record lets clients be found by their connection.
function record(Client) {
  if (Client.prototype[recorded]) return;
  const { setup } = Client.prototype;
  Client.prototype[recorded] = true;
  Client.prototype.setup = function () {
    clients.set(this.conn, this);
    return setup.call(this);
  };
}

class Kit extends EventEmitter {
  constructor(io, options) {
    super();
    record(check(io));
    for (const nsp of io._nsps.values()) checkAdapter(nsp);
    this.io = io;
    this.options = options;
    this.patience = 4 * options.redisTimeout; // ms, for middlewares and functions of the application
    this.clients = clients;
    this.trusted = truster(options.trust);
    this.redis = new Redis(options.redis, options.redisTimeout);
    this.store = new Store(this.redis, options.prefix, options.ttl);
    this.mail = new Mail(this.redis, options.prefix, (error) => this.warn(error));
    this.post = new Post(this);
    this.server = 0; // its number, once it is ready
    this.sessions = new Map(); // by the balancer's ID; those that are arriving from "begin" on
    this.byConn = new WeakMap();
    this.streams = new Map(); // by namespace
    this.dirty = new Set();
    this.draining = false;
    this.closing = false;
    this.reported = false; // a health check has got 503
    this.ended = new AbortController();
    this.warned = new Map();
    for (const nsp of io._nsps.values()) this.watch(nsp);
    io.on("new_namespace", (nsp) => {
      checkAdapter(nsp);
      this.watch(nsp);
      this.streamOf(nsp).catch((error) => this.warn(error));
    });
    hook(this);
    if (options.health) {
      if (!io.httpServer) throw new TypeError("io has no HTTP server that could answer health checks: set health to false");
      serveHealth(this, io.httpServer, options.health);
    }
    this.ready = this.start();
    this.ready.catch((error) => this.warn(error));
  }

  async start() {
    const server = await this.store.register(() => randomInt(1, SERVERS));
    await this.mail.open(server, (message) => this.post.receive(message));
    for (const nsp of this.io._nsps.values()) number(nsp, server);
    this.server = server;
    await Promise.all([...this.io._nsps.values()].map((nsp) => this.streamOf(nsp)));
    this.timers = [
      setInterval(() => this.saveChanged(), SAVE_EVERY).unref(),
      setInterval(() => this.savePositions(), POSITIONS_EVERY).unref(),
    ];
  }

  // streamOf resolves to the stream of a namespace, when its position is known.
  async streamOf(nsp) {
    let stream = this.streams.get(nsp.name);
    if (!stream || stream.adapter !== nsp.adapter) {
      stream = new Stream(nsp, this.redis, this.options);
      this.streams.set(nsp.name, stream);
      const { adapter } = nsp;
      const { close } = adapter;
      adapter.close = () => {
        if (this.streams.get(nsp.name) === stream) this.streams.delete(nsp.name);
        return close.call(adapter);
      };
    }
    stream.started ||= stream.start(this.ended.signal).catch((error) => {
      stream.started = null; // the next one tries again
      throw error;
    });
    await stream.started;
    return stream;
  }

  watch(nsp) {
    if (this.server) number(nsp, this.server);
    nsp.prependListener("connection", (socket) => {
      const session = this.byConn.get(socket.conn);
      if (session) session.connected(socket);
    });
    const changed = (room, id) => {
      const socket = nsp.sockets.get(id);
      const session = socket && this.byConn.get(socket.conn);
      if (session) this.dirty.add(session);
    };
    nsp.adapter.on("join-room", changed);
    nsp.adapter.on("leave-room", changed);
  }

  // find answers a handshake of a session from another server.
  async find(notice) {
    if (this.draining || !this.timers) return { status: 503 };
    try {
      const text = await this.store.peek(notice.session);
      return text === "" ? { status: 404 } : { status: 101, state: unpack(text) };
    } catch (error) {
      this.warn(new Error(`a session wasn't taken over: ${error.message}`));
      return { status: 503 };
    }
  }

  opened(conn, link) {
    const session = new Session(this, conn, link);
    link.session = session;
    this.byConn.set(conn, session);
    session.watch();
    conn.prependListener("close", (reason) => this.closed(session, reason));
    if (link.notice.reason) {
      arrive(this, session);
    } else {
      this.sessions.set(session.id, session);
      this.save(session);
    }
  }

  leave(session) {
    depart(this, session).catch((error) => {
      this.warn(new Error(`a session couldn't leave: ${error.message}`));
      session.ws.close(1000);
    });
  }

  // closed is called when a connection ends, before its sockets are closed.
  closed(session, reason) {
    if (this.sessions.get(session.id) === session) this.sessions.delete(session.id);
    this.dirty.delete(session);
    if (session.state !== "open") {
      if (session.state === "arriving" && !session.begun) session.state = "closed";
      return;
    }
    const cut = reason === "transport error" || (reason === "transport close" && session.link.ended === 1006);
    if (cut) {
      lost(this, session);
      return;
    }
    session.state = "closed";
    this.store.drop(session.owner()).catch((error) => this.warn(error));
  }

  // save stores the state of a session, later again if that fails.
  save(session, values) {
    return session.save(values).catch((error) => {
      this.dirty.add(session);
      this.warn(new Error(`a session's state wasn't saved: ${error.message}`));
      return false;
    });
  }

  // saveSocket stores the state of a socket's session now, with what the application's
  // save returns. It rejects if that fails.
  async saveSocket(socket) {
    const session = this.byConn.get(socket.conn);
    if (!session || session.state !== "open") return;
    if (!(await session.save(await applicationState(this, session)))) throw new Error("the session is on another server by now");
  }

  saveChanged() {
    this.look = ((this.look || 0) + 1) % SWEEP;
    let i = 0;
    for (const session of this.sessions.values()) if (i++ % SWEEP === this.look) this.dirty.add(session);
    const dirty = [...this.dirty];
    this.dirty.clear();
    for (const session of dirty) if (!session.link.keep) this.save(session);
    if (this.look === 0) this.post.sweep();
  }

  // savePositions stores what the sockets of this server have got, for the case that it
  // is killed.
  savePositions() {
    const cuts = {};
    for (const [name, stream] of this.streams) if (stream.position) cuts[name] = stream.cut();
    const text = JSON.stringify(cuts);
    const old = Date.now() - (this.positionsAt || 0) > this.options.ttl / 3;
    if (this.savingPositions || (text === this.positions && !old)) return;
    this.savingPositions = true;
    this.store.saveServer(this.server, text).then(() => {
      this.positions = text;
      this.positionsAt = Date.now();
    }, (error) => this.warn(error)).finally(() => (this.savingPositions = false));
  }

  // warn reports what went wrong, without anything that clients have sent.
  warn(error) {
    const now = Date.now();
    if (now - (this.warned.get(error.message) || 0) < WARN_EVERY) return;
    if (this.warned.size > 100) this.warned.clear();
    this.warned.set(error.message, now);
    if (!this.emit("warning", error)) console.warn(`holdfast-socketio: ${error.message}`);
  }

  shutdown(options) {
    this.stopping = this.stopping || shutdown(this, options);
    return this.stopping;
  }

  // stop ends the timers and the subscription.
  stop() {
    this.ended.abort();
    for (const timer of this.timers || []) clearInterval(timer);
    this.mail.close(); // its number stays taken for ttl: clients may still have acks for it
  }
}

module.exports = { Kit };
