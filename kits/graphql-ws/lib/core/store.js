"use strict";
// The states of sessions in Redis. A session is a hash:
//
//   m  number of the last move for which a server has claimed the session
//   e  epoch: how often it has been claimed
//   n  number of the server that owns it
//   s  the state, a text
//   f  1 if the server that has saved it has released the session with it
//
// Only the owner of the current epoch can write. So a server that has lost a session
// without knowing can't overwrite newer state, and a late claim of an abandoned
// attempt fails.

const SAVE = `
local r = redis.call('HMGET', KEYS[1], 'e', 'n')
if r[1] then
  if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return 0 end
  redis.call('HSET', KEYS[1], 's', ARGV[4], 'f', ARGV[5])
else
  redis.call('HSET', KEYS[1], 'e', ARGV[1], 'n', ARGV[2], 'm', ARGV[3], 's', ARGV[4], 'f', ARGV[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1`;

const CLAIM = `
local r = redis.call('HMGET', KEYS[1], 'e', 'n', 'f', 's', 'm')
if not r[1] then return {} end
if tonumber(ARGV[2]) < tonumber(r[5]) then return {'superseded'} end
local e = string.format('%d', tonumber(r[1]) + 1)
redis.call('HSET', KEYS[1], 'e', e, 'n', ARGV[1], 'm', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'claimed', e, r[2], r[3], r[4]}`;

const DROP = `
local r = redis.call('HMGET', KEYS[1], 'e', 'n')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])`;

class Store {
  // ttl is in ms: how long the state of a session is kept after it was last saved.
  constructor(redis, prefix, ttl) {
    this.redis = redis;
    this.prefix = prefix;
    this.ttl = ttl;
  }

  key(session) {
    return `${this.prefix}session:${session}`;
  }

  // peek resolves to the current state, and to "" if there is no such session.
  async peek(session) {
    return (await this.redis.call("HGET", this.key(session), "s")) || "";
  }

  // save resolves to false if another server owns the session by now.
  async save({ session, epoch, server, move }, state, final = false) {
    const saved = await this.redis.call("EVAL", SAVE, 1, this.key(session), epoch, server, move, state, final ? 1 : 0, this.ttl);
    return Number(saved) === 1;
  }

  // claim makes a server the owner. It resolves to null if there is no such session,
  // and to {superseded: true} if another server has claimed it for a later move.
  // final belongs to the state: a server that has claimed the session may have been
  // lost before it saved anything.
  async claim(session, server, move) {
    const reply = (await this.redis.call("EVAL", CLAIM, 1, this.key(session), server, move, this.ttl)).map(String);
    if (reply.length === 0) return null;
    if (reply[0] === "superseded") return { superseded: true };
    const [, epoch, previous, final, state] = reply;
    return { epoch: Number(epoch), previous: Number(previous), final: final === "1", state };
  }

  // drop forgets a session that has ended.
  drop({ session, epoch, server }) {
    return this.redis.call("EVAL", DROP, 1, this.key(session), epoch, server);
  }

  touch(session) {
    return this.redis.call("PEXPIRE", this.key(session), this.ttl);
  }

  // register takes a number that no running server has. A server without one
  // for more than ttl loses it.
  async register(random) {
    for (let tries = 0; tries < 100; tries++) {
      const number = random();
      const reply = await this.redis.call("SET", `${this.prefix}server:${number}`, "", "NX", "PX", this.ttl);
      if (reply !== null) return number;
    }
    throw new Error("found no free number for this server");
  }

  saveServer(number, text) {
    return this.redis.call("SET", `${this.prefix}server:${number}`, text, "PX", this.ttl);
  }

  async loadServer(number) {
    return (await this.redis.call("GET", `${this.prefix}server:${number}`)) || "";
  }
}

module.exports = { Store };
