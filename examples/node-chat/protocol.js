"use strict";
// What a page may say, within the bounds of docs/chat.md.

// Violation is what a page should not have said.
class Violation extends Error {}

const ID = /^(0|[1-9]\d{0,14})-(0|[1-9]\d{0,14})$/; // nothing else may become an argument for Redis
const isKey = (s) => typeof s === "string" && s.length > 0 && Buffer.byteLength(s) <= 64;
const isText = (s, most) => s.length > 0 && [...s].length <= most;

// clean is s without control characters, but for those kept; "" if it is no string.
function clean(s, kept = "") {
  if (typeof s !== "string") return "";
  return s.toWellFormed().replace(/\p{Cc}/gu, (c) => (kept.includes(c) ? c : "")).trim();
}

// parse returns what a page wants, as others may see it. A post can have a fault.
function parse(data, isBinary) {
  let request = null;
  try {
    if (!isBinary) request = JSON.parse(data);
  } catch {} // it stays null
  const { type, member, name, room, since, key, text } = request ?? {};
  if (since && !ID.test(since)) throw new Violation("since is no ID of a message");
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
