"use strict";
// Parsing and validation of the requests of a page, see docs/chat.md.

// Violation is the error for a request that breaks the protocol.
class Violation extends Error {}

const ID = /^(0|[1-9]\d{0,14})-(0|[1-9]\d{0,14})$/; // it becomes an argument of Redis commands, so nothing else is allowed
const isKey = (s) => typeof s === "string" && s.length > 0 && Buffer.byteLength(s) <= 64;
const isText = (s, max) => s.length > 0 && [...s].length <= max;

// clean removes control characters except those in keep. It returns "" if s isn't a string.
function clean(s, keep = "") {
  if (typeof s !== "string") return "";
  return s.toWellFormed().replace(/\p{Cc}/gu, (c) => (keep.includes(c) ? c : "")).trim();
}

// parse returns a request with its texts cleaned. An invalid post has a fault.
function parse(data, isBinary) {
  let request = null;
  try {
    if (!isBinary) request = JSON.parse(data);
  } catch {} // it stays null
  const { type, member, name, room, since, key, text } = request ?? {};
  if (since && !ID.test(since)) throw new Violation("since is not a message ID");
  if (type === "post") {
    const post = { type, key, text: clean(text, "\n\t") };
    if (!isKey(key) || !isText(post.text, 2000)) post.fault = "a message has 1 to 2000 characters, and a key";
    return post;
  }
  if (type !== "join") return { type, since };
  const who = { member, name: clean(name) || "somebody", room: clean(room) };
  if (!isKey(member) || !isText(who.name, 32) || !isText(who.room, 32)) {
    throw new Violation("member, name or room is missing or too long");
  }
  return { type, since, who: { ...who, member: member.toWellFormed() } };
}

module.exports = { parse, Violation };
