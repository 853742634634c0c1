"use strict";
// Action Cable without the callback of docs/frameworks.md.
const actioncable = require("./actioncable.js");

exports.server = actioncable.server;
exports.client = (url, me) => actioncable.client(url, me, true);
