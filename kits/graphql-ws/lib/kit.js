"use strict";
// A server: which handshakes it accepts, and where the states of its sessions are.

const { EventEmitter } = require("events");
const { randomInt } = require("crypto");
const { makeServer, handleProtocols } = require("graphql-ws");
const { Redis } = require("./core/redis");
const { Store } = require("./core/store");
const { serveHealth } = require("./core/health");
const notice = require("./core/notice");
const { Session } = require("./session");
const { instrument } = require("./operations");

const WARN_EVERY = 10_000; // ms between two equal warnings
const SERVICE_RESTART = 1012;
const STATUS = { 404: "Not Found", 503: "Service Unavailable" };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Kit extends EventEmitter {
  constructor(serverOptions, wss, options) {
    super();
    this.wss = wss;
    this.options = options;
    this.patience = 4 * options.redisTimeout; // ms, for onConnect of a session that arrives
    this.isProd = serverOptions.isProd ?? process.env.NODE_ENV === "production"; // as graphql-ws does
    this.replacer = serverOptions.jsonMessageReplacer;
    this.trusted = notice.truster(options.trust);
    this.store = new Store(new Redis(options.redis, options.redisTimeout), options.prefix, options.ttl);
    this.number = randomInt(1, 2 ** 48 - 1); // of this server, as the owner of sessions
    this.server = makeServer(instrument(serverOptions, this));
    this.byExtra = new WeakMap(); // sessions
    this.sessions = new Set(); // those whose states are in Redis
    this.dirty = new Set();
    this.failing = false; // the last state couldn't be saved
    this.draining = false;
    this.closing = false;
    this.reported = false; // a health check has got 503
    this.warned = new Map();
    if (options.health && wss.options.server) serveHealth(this, wss.options.server, options.health);
    this.hook();
    this.timer = setInterval(() => this.saveChanged(), options.saveEvery).unref();
  }

  // hook uses documented options and events of ws only.
  hook() {
    const { wss } = this;
    const { verifyClient } = wss.options;
    wss.options.handleProtocols = handleProtocols;
    wss.options.verifyClient = (info, done) => {
      this.find(info.req).then((status) => {
        if (status !== 101) done(false, status, STATUS[status]);
        else if (!verifyClient) done(true);
        else if (verifyClient.length === 2) verifyClient(info, done);
        else done(verifyClient(info));
      }).catch((error) => {
        this.warn(error); // of the application's verifyClient
        done(false, 500, "Internal Server Error");
      });
    };
    wss.on("headers", (headers, request) => {
      if (this.asks(request)) headers.push("Holdfast-Control: 1");
    });
    wss.on("connection", (ws, request) => {
      new Session(this, ws, request, this.asks(request) ? notice.read(request.headers) : null);
    });
    wss.on("error", (error) => this.warn(error));
  }

  // asks says whether the answer to a request asks for notices.
  asks({ headers }) {
    return headers["holdfast-control"] === "1" && headers["holdfast-session"] !== undefined;
  }

  // find resolves to the status of the answer to a handshake.
  async find(request) {
    if (!this.trusted(request)) notice.strip(request.headers);
    const said = notice.read(request.headers);
    if (this.closing) return 503;
    if (!said || !said.reason) return 101;
    if (this.draining) return 503;
    try {
      return (await this.store.peek(said.session)) === "" ? 404 : 101;
    } catch (error) {
      this.warn(new Error(`a session wasn't taken over: ${error.message}`));
      return 503;
    }
  }

  // save stores the state of a session, later again if that fails.
  async save(session) {
    this.dirty.delete(session);
    try {
      session.savedAt = Date.now();
      await this.store.save(session.owner(), session.snapshot());
      this.failing = false;
    } catch (error) {
      this.failing = true;
      if (this.sessions.has(session)) this.dirty.add(session);
      this.warn(new Error(`a session's state wasn't saved: ${error.message}`));
    }
  }

  saveChanged() {
    const old = Date.now() - this.options.ttl / 3;
    for (const session of this.sessions) if (this.dirty.has(session) || session.savedAt < old) this.save(session);
  }

  // forget ends the account of a session. lost: its connection has ended without a Close,
  // and the balancer may send it again, also here.
  forget(session, lost) {
    this.sessions.delete(session);
    this.dirty.delete(session);
    if (lost) this.save(session);
    else this.store.drop(session.owner()).catch((error) => this.warn(error));
  }

  // warn reports what went wrong, without anything that clients have sent.
  warn(error) {
    const now = Date.now();
    if (now - (this.warned.get(error.message) || 0) < WARN_EVERY) return;
    if (this.warned.size > 100) this.warned.clear();
    this.warned.set(error.message, now);
    if (!this.emit("warning", error)) console.warn(`holdfast-graphql-ws: ${error.message}`);
  }

  shutdown(options) {
    this.stopping ||= this.stop(options);
    return this.stopping;
  }

  // stop resolves when no connection is left. The HTTP server isn't closed.
  async stop({ notice = 15_000, spread = 8_000 } = {}) {
    const { clients } = this.wss;
    this.draining = true;
    for (const end = Date.now() + notice; !(this.reported && clients.size === 0) && Date.now() < end; ) await sleep(50);
    this.closing = true;
    const rest = [...clients]; // no other server has taken them
    for (const [i, ws] of rest.entries()) {
      if (i > 0) await sleep(spread / rest.length);
      ws.close(SERVICE_RESTART, "server stopped");
    }
    for (const end = Date.now() + 2000; clients.size > 0 && Date.now() < end; ) await sleep(10);
    for (const ws of clients) ws.terminate();
    clearInterval(this.timer);
    await new Promise((done) => this.wss.close(done));
  }
}

module.exports = { Kit };
