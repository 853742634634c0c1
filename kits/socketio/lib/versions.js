"use strict";
// This package uses private parts of socket.io and engine.io. So it works only with
// versions that it was tested with, and refuses others.

const fs = require("fs");
const path = require("path");

const TESTED = { "socket.io": /^4\.8\.\d+$/, "engine.io": /^6\.6\.\d+$/ };

// moduleOf finds the loaded module that exports a class of an object under a name.
function moduleOf(instance, name) {
  const classes = new Set();
  for (let p = Object.getPrototypeOf(instance); p; p = Object.getPrototypeOf(p)) classes.add(p.constructor);
  return Object.values(require.cache).find((m) => {
    try {
      return m && m.exports && classes.has(m.exports[name]);
    } catch {
      return false; // a getter of some other module
    }
  });
}

// packageOf reads the package.json above a file.
function packageOf(file) {
  for (let dir = path.dirname(file); ; dir = path.dirname(dir)) {
    try {
      const found = JSON.parse(fs.readFileSync(path.join(dir, "package.json"), "utf8"));
      if (found.version) return found;
    } catch {} // none in this folder
    if (dir === path.dirname(dir)) return null;
  }
}

function checkVersion(instance, exported, name) {
  const found = moduleOf(instance, exported);
  const { version } = (found && packageOf(found.filename)) || {};
  if (!version) {
    throw new Error(`can't find out the version of ${name}: it must be loaded from node_modules, not be part of a bundle`);
  }
  if (!TESTED[name].test(version)) {
    throw new Error(`${name} ${version} isn't supported: it needs socket.io 4.8 with engine.io 6.6, whose private parts it uses`);
  }
  return found;
}

// check refuses what this package doesn't work with, and returns socket.io's class
// Client, which isn't exported.
function check(io) {
  if (!io || !io.engine) throw new TypeError("io must be a Server of socket.io that is attached to an HTTP server");
  const main = checkVersion(io, "Server", "socket.io");
  checkVersion(io.engine, "Server", "engine.io");
  if (!io.engine.ws || typeof io.engine.ws.handleUpgrade !== "function" || typeof io.engine.ws.on !== "function") {
    throw new Error("the transport websocket must be on, with the package ws as its wsEngine");
  }
  const { Client } = require(path.join(path.dirname(main.filename), "client.js"));
  for (const method of ["setup", "connect", "writeToEngine", "_packet"]) {
    if (typeof Client.prototype[method] !== "function") throw new Error(`this socket.io has no Client.${method}`);
  }
  return Client;
}

function checkAdapter(nsp) {
  const { adapter } = nsp;
  const ok = ["onRawMessage", "doPublish", "publishAndReturnOffset", "encode"].every((m) => typeof adapter[m] === "function") &&
    typeof adapter.constructor.decode === "function" && typeof adapter.uid === "string";
  if (!ok) {
    throw new Error(`the namespace ${nsp.name} must have the adapter of @socket.io/redis-streams-adapter 0.3; it has ${adapter.constructor.name}`);
  }
}

module.exports = { check, checkAdapter };
