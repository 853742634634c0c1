"use strict";
// The parts that don't depend on a framework: the states of sessions with their
// owners, messages between servers, health checks, and what the balancer says. Another
// kit can use them.

module.exports = {
  ...require("./redis"),
  ...require("./codec"),
  ...require("./store"),
  ...require("./mail"),
  ...require("./health"),
  notice: require("./notice"),
};
