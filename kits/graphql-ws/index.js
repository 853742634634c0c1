"use strict";
// Servers of graphql-ws whose subscriptions continue when holdfast moves them to another
// server. See README.md.

const { Kit } = require("./lib/kit");
const { answerHealth } = require("./lib/core/health");

const defaults = {
  keepAlive: 12_000,
  prefix: "holdfast:gql:",
  health: "/health",
  finish: 3000,
  saveEvery: 1000,
  ttl: 600_000,
  redisTimeout: 2000,
};

const known = new Set([...Object.keys(defaults), "redis", "trust", "cursor"]);

// useServer has the first two arguments of the function in graphql-ws/use/ws.
function useServer(serverOptions, wss, options = {}) {
  for (const name of Object.keys(options)) {
    if (!known.has(name)) throw new TypeError(`useServer has no option ${name}; it has ${[...known].sort().join(", ")}`);
  }
  const all = { ...defaults, ...options };
  for (const [name, least] of [["keepAlive", 0], ["finish", 0], ["saveEvery", 10], ["ttl", 10_000], ["redisTimeout", 1]]) {
    if (!Number.isFinite(all[name]) || all[name] < least) throw new TypeError(`${name} must be a number of at least ${least}`);
  }
  if (all.cursor !== undefined && typeof all.cursor !== "function") throw new TypeError("cursor must be a function");
  if (!wss || !wss.clients || typeof wss.handleUpgrade !== "function") throw new TypeError("the second argument must be a WebSocketServer of the package ws");
  return new Moves(new Kit(serverOptions, wss, all));
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

  shutdown(options) {
    return this.#kit.shutdown(options);
  }

  dispose() {
    return this.#kit.shutdown({ notice: 0, spread: 0 });
  }

  health(request, response) {
    answerHealth(this.#kit, request, response);
  }
}

module.exports = { useServer };
