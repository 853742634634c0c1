"use strict";
// Socket.IO servers whose clients stay connected when holdfast moves them to another
// server. See README.md.

const { Kit } = require("./lib/kit");
const { answerHealth } = require("./lib/core/health");

const defaults = {
  streamName: "socket.io",
  streamCount: 1,
  prefix: "holdfast:sio:",
  health: "/health",
  finish: 1000,
  ttl: 600_000,
  redisTimeout: 2000,
};

const known = new Set([...Object.keys(defaults), "redis", "trust", "save", "restore"]);

function reattach(io, options = {}) {
  for (const name of Object.keys(options)) {
    if (!known.has(name)) throw new TypeError(`reattach has no option ${name}; it has ${[...known].sort().join(", ")}`);
  }
  const all = { ...defaults, ...options };
  for (const [name, least] of [["finish", 0], ["ttl", 10_000], ["redisTimeout", 1], ["streamCount", 1]]) {
    if (!Number.isFinite(all[name]) || all[name] < least) throw new TypeError(`${name} must be a number of at least ${least}`);
  }
  for (const name of ["save", "restore"]) {
    if (all[name] !== undefined && typeof all[name] !== "function") throw new TypeError(`${name} must be a function`);
  }
  const kit = new Kit(io, all);
  return Object.assign(new Moves(kit), { ready: kit.ready });
}

// Moves is what applications see.
class Moves {
  #kit;

  constructor(kit) {
    this.#kit = kit;
  }

  on(event, listener) {
    this.#kit.on(event, listener);
    return this;
  }

  off(event, listener) {
    this.#kit.off(event, listener);
    return this;
  }

  save(socket) {
    return this.#kit.saveSocket(socket);
  }

  shutdown(options) {
    return this.#kit.shutdown(options);
  }

  health(request, response) {
    answerHealth(this.#kit, request, response);
  }
}

module.exports = { reattach };
