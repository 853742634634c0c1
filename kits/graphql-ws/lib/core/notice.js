"use strict";
// What the balancer tells a server about a session: docs/reattach.md of holdfast.

const net = require("net");

const LEAVE = "holdfast leave";
const BEGIN = "holdfast begin";

// read returns what the fields of a request say, or null if there is no session.
function read(headers) {
  const session = headers["holdfast-session"];
  if (!session) return null;
  return {
    session,
    control: headers["holdfast-control"] === "1",
    reason: headers["holdfast-reattach"] || "", // drain, loss or rebalance, of a session from another server
    from: headers["holdfast-from"] || "",
    move: Number(headers["holdfast-move"]) || 0,
  };
}

// strip removes the fields of a request that didn't come from a balancer.
function strip(headers) {
  for (const name of Object.keys(headers)) {
    if (name.startsWith("holdfast-")) delete headers[name];
  }
}

// truster returns a function that says whether a request comes from a balancer.
// trust is a list of addresses and networks such as 10.0.0.0/8, a function of the
// request, or undefined: then all requests are trusted.
function truster(trust) {
  if (trust === undefined) return () => true;
  if (typeof trust === "function") return trust;
  if (!Array.isArray(trust)) throw new TypeError("trust must be a list of addresses, or a function");
  const list = new net.BlockList();
  for (const entry of trust) {
    const [address, bits] = String(entry).split("/");
    const family = net.isIP(address);
    if (!family) throw new TypeError(`trust: ${JSON.stringify(entry)} is neither an address nor a network such as 10.0.0.0/8`);
    const type = family === 4 ? "ipv4" : "ipv6";
    if (bits === undefined) list.addAddress(address, type);
    else list.addSubnet(address, Number(bits), type);
  }
  return (request) => {
    const address = request.socket.remoteAddress || "";
    const v4 = address.startsWith("::ffff:") && net.isIPv4(address.slice(7)) ? address.slice(7) : address;
    return net.isIP(v4) !== 0 && list.check(v4, net.isIPv4(v4) ? "ipv4" : "ipv6");
  };
}

module.exports = { LEAVE, BEGIN, read, strip, truster };
