"use strict";
// How values are stored in Redis and sent to other servers: MessagePack, which has
// binary data and dates, as text in base64.

const { encode, decode } = require("@msgpack/msgpack");

const options = { ignoreUndefined: true };

module.exports = {
  pack: (value) => {
    const bytes = encode(value, options);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  },
  unpack: (text) => revive(decode(Buffer.from(text, "base64"))),
};

// revive makes a Buffer of each Uint8Array: Socket.IO hands out Buffers.
function revive(value) {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(revive);
  if (value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype) {
    for (const key of Object.keys(value)) value[key] = revive(value[key]);
  }
  return value;
}
