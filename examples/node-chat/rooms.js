"use strict";
// Rooms that Node and Go servers have in common: what a chat needs of the Go
// package hub, by its own scripts and layout in Redis (docs/hub.md).
//
// It leaves out: bounds on the rooms, a Redis that is there but doesn't answer,
// keeping who is present from flickering where Redis has lost its data, and the
// history of a room for longer than a day after its last message.

const { createHash, randomBytes } = require("crypto");
const { readFileSync } = require("fs");
const path = require("path");
const { createClient } = require("redis");

// All servers that share rooms must agree on these; they are those of ../chat.
const PREFIX = "chat:";
const LEASE = 5_000; // a server that crashed is known to be dead within this
const HISTORY = 500; // messages a room keeps
const TTL = 24 * 3600_000; // and for how long

const LEASE_TIME = (LEASE * 7) / 10;
const BEAT = (LEASE * 2) / 10;

const script = (name) => readFileSync(path.join(__dirname, "../../hub/scripts", `${name}.lua`), "utf8");
const scripts = {};
for (const name of ["publish", "join", "leave", "sync", "beat"]) {
  const text = script("prelude") + script(name);
  scripts[name] = { text, sha: createHash("sha1").update(text).digest("hex") };
}

const ID = /^(0|[1-9]\d{0,15})-(0|[1-9]\d{0,15})$/;
function isAfter(a, b) {
  const [x, y] = [a, b].map((id) => id.split("-").map(Number));
  return x[0] > y[0] || (x[0] === y[0] && x[1] > y[1]);
}

// frame is a message as a page gets it: made once, whatever the members.
const frame = (id, data) => `{"type":"message","id":"${id}","time":${id.split("-")[0]},"post":${data}}`;
const GAP = '{"type":"gap"}';

// toMessage reads an entry of the stream: p, the ID before it, k, the key, and
// d, the data.
const toMessage = ([id, [, prev, , , , data]]) => ({ id, prev, text: frame(id, data) });

class Rooms {
  constructor(url) {
    const options = { url, disableOfflineQueue: true }; // while Redis is away, commands fail at once
    this.redis = createClient(options);
    this.channels = this.redis.duplicate();
    this.server = randomBytes(12).toString("base64url");
    this.rooms = new Map(); // those with members here
    this.entries = 0;
    this.late = []; // leaves that failed
    this.dead = new Set(); // servers whose lease has run out
    this.mercy = 0; // until then none is taken for dead
  }

  // open takes a lease before anybody sees a member of this server.
  async open() {
    for (const client of [this.redis, this.channels]) client.on("error", (error) => console.error("Redis:", error.message));
    await Promise.all([this.redis.connect(), this.channels.connect()]);
    await this.beat();
    this.beating = setInterval(() => this.beat().catch(() => {}), BEAT);
    this.channels.on("ready", () => { // it was away, and all channels are subscribed again
      this.spare();
      for (const room of this.rooms.values()) room.sync();
    });
  }

  async close() {
    clearInterval(this.beating);
    await Promise.all([...this.rooms.values()].flatMap((room) => [...room.places].map((place) => place.leave())));
    await this.run("beat", [PREFIX + "servers"], [this.server, -1, 2 * TTL]); // dead at once
    this.channels.destroy();
    this.redis.destroy();
  }

  async run(name, keys, args) {
    const call = { keys, arguments: args.map(String) };
    try {
      return await this.redis.evalSha(scripts[name].sha, call);
    } catch (error) {
      if (!error.message.startsWith("NOSCRIPT")) throw error;
      return this.redis.eval(scripts[name].text, call);
    }
  }

  // enter makes who, { member, name, room }, a member who is seen but gets
  // nothing until place.start.
  async enter(who) {
    let room = this.rooms.get(who.room);
    if (!room) this.rooms.set(who.room, (room = new Room(this, who.room)));
    const place = new Place(room, `${this.server}/${++this.entries}`, who);
    room.places.add(place); // from now on the room is followed
    try {
      await room.followed;
      await place.enter("", 0);
    } catch (error) {
      place.leave();
      throw error;
    }
    return place;
  }

  // publish can be tried until it succeeds: the history has a key only once.
  publish(room, key, data) {
    const k = keysOf(room);
    return this.run("publish", [k.stream, k.keys], [k.channel, key, data, HISTORY, TTL]);
  }

  // notify is for what is stale in a moment.
  notify(room, data) {
    return this.redis.publish(keysOf(room).channel, "n\n" + data);
  }

  // spare gives other servers the time to renew leases that they couldn't.
  spare() {
    this.mercy = Date.now() + LEASE_TIME;
  }

  // beat renews the lease of this server and takes out members of dead ones.
  async beat() {
    const [lapsed, dead] = await this.run("beat", [PREFIX + "servers"], [this.server, LEASE_TIME, 2 * TTL]);
    for (const [room, entry] of this.late.splice(0)) room.leave(entry);
    if (lapsed) {
      this.spare();
      for (const room of this.rooms.values()) room.sync(); // others may have taken our members out
    }
    if (Date.now() < this.mercy) return;
    this.dead = new Set(dead);
    for (const room of this.rooms.values()) {
      for (const entry of room.present.keys()) if (this.dead.has(serverOf(entry))) room.leave(entry);
    }
  }
}

const serverOf = (entry) => entry.split("/", 1)[0];

function keysOf(room) {
  const channel = `${PREFIX}{${encodeURIComponent(room)}}`;
  return { channel, stream: channel + ":s", keys: channel + ":k", members: channel + ":m" };
}

const formatMember = ({ member, name }) => encodeURIComponent(member) + "\n" + name;
function parseMember(text) {
  const [member, name] = text.split("\n", 2);
  return { member: decodeURIComponent(member), name };
}

class Room {
  constructor(rooms, name) {
    Object.assign(this, { rooms, name, keys: keysOf(name) });
    this.places = new Set(); // of members here
    this.present = new Map(); // entries of members anywhere
    this.last = null; // ID of the newest message that the members have
    this.syncing = true; // until readAll has told where the room stands
    this.listener = (payload) => this.receive(payload);
    this.followed = rooms.channels.isReady
      ? rooms.channels.subscribe(this.keys.channel, this.listener).then(() => this.readAll())
      : Promise.reject(new Error("Redis is away"));
    this.followed.catch(() => {}); // who enters is told
  }

  tell(text) {
    for (const place of this.places) place.send?.(text);
  }

  // receive takes what came on the channel. What can't be the next, and all
  // that comes during a sync, is read from Redis instead.
  receive(payload) {
    const end = payload.indexOf("\n");
    const [kind, ...words] = (end < 0 ? payload : payload.slice(0, end)).split(" ");
    const data = payload.slice(end + 1);
    if (kind === "n") return this.tell(data);
    if (this.syncing) return (this.again = true);
    if (kind === "m") {
      const [id, prev] = words;
      if (!isAfter(id, this.last)) return;
      if (prev !== this.last) return this.sync();
      return this.deliver({ id, text: frame(id, data) });
    }
    const [version, entry, member] = words;
    if (BigInt(version) <= this.version) return;
    if (BigInt(version) !== this.version + 1n) return this.sync();
    this.version++;
    if (kind === "+") this.change((present) => present.set(entry, parseMember(member + "\n" + data)));
    else this.change((present) => present.delete(entry));
  }

  deliver(message) {
    this.last = message.id;
    for (const place of this.places) place.deliver(message);
  }

  // change changes who is present, and tells who came and went by it.
  change(how) {
    const before = this.people();
    how(this.present);
    const after = this.people();
    for (const [member, name] of after) if (!before.has(member)) this.tell(JSON.stringify({ type: "here", member, name }));
    for (const [member, name] of before) if (!after.has(member)) this.tell(JSON.stringify({ type: "gone", member, name }));
  }

  people() {
    return new Map([...this.present.values()].map(({ member, name }) => [member, name]));
  }

  // sync is readAll until it succeeds.
  sync() {
    if (this.syncing) return void (this.again = true);
    this.readAll().catch(() => {
      if (this.places.size) setTimeout(() => this.sync(), 500);
    });
  }

  // readAll reads what the channel may not have brought: messages after the
  // last, and who is present; and enters members here whom Redis has lost.
  async readAll() {
    const { keys, rooms } = this;
    this.syncing = true;
    try {
      do {
        this.again = false;
        const mine = [...this.places].filter((place) => place.entered);
        const [newest, entries, flat] = await rooms.run("sync", [keys.members, keys.stream],
          [keys.channel, TTL, this.last ?? "", HISTORY, ...mine.flatMap((place) => [place.entry, formatMember(place.who)])]);
        this.catchUp(newest, entries.map(toMessage));
        if (entries.length === HISTORY) this.again = true;
        this.change((present) => {
          present.clear();
          for (let i = 0; i < flat.length; i += 2) {
            if (flat[i] === "v") this.version = BigInt(flat[i + 1]);
            else if (flat[i] !== "b" && !rooms.dead.has(serverOf(flat[i]))) present.set(flat[i], parseMember(flat[i + 1]));
          }
        });
      } while (this.again);
    } finally {
      this.syncing = false;
    }
  }

  catchUp(newest, messages) {
    if (this.last !== null && (messages[0]?.prev ?? newest) !== this.last) this.tell(GAP); // Redis has lost some
    for (const message of messages) this.deliver(message);
    this.last = newest;
  }

  leave(entry) {
    return this.rooms.run("leave", [this.keys.members], [this.keys.channel, entry])
      .catch(() => this.rooms.late.push([this, entry])); // beat tries again
  }
}

// Place is a member's place in a room.
class Place {
  constructor(room, entry, who) {
    Object.assign(this, { room, entry, who });
    this.waiting = []; // messages that come before start has read the history
  }

  async enter(since, count) {
    const { keys } = this.room;
    const reply = await this.room.rooms.run("join", [keys.members, keys.stream],
      [keys.channel, TTL, this.entry, formatMember(this.who), since, count]);
    this.entered = true;
    return reply;
  }

  // start gives send, from now on, who is there, what came after since (or the
  // last count messages, without), and all that comes.
  async start(since, count, send) {
    if (since && !ID.test(since)) throw Object.assign(new Error("since is no ID of a message"), { code: 1008 });
    this.send = null;
    this.waiting = [];
    const [newest, entries] = await this.enter(since ?? "", count);
    const history = entries.map(toMessage);
    if (!since) history.reverse();
    const present = this.room.people().set(this.who.member, this.who.name); // the channel will say so in a moment
    const people = [...present].map(([member, name]) => ({ member, name }));
    send(JSON.stringify({ type: "joined", room: this.room.name, people }));
    if (since && (history[0]?.prev ?? newest) !== since) send(GAP);
    for (const message of history) send(message.text);
    for (const message of this.waiting) if (isAfter(message.id, newest)) send(message.text);
    this.newest = newest;
    this.send = send;
  }

  deliver(message) {
    if (!this.send) this.waiting.push(message);
    else if (isAfter(message.id, this.newest)) this.send(message.text);
  }

  leave() {
    const { room } = this;
    room.places.delete(this);
    if (room.places.size === 0 && room.rooms.rooms.get(room.name) === room) {
      room.rooms.rooms.delete(room.name);
      room.rooms.channels.unsubscribe(room.keys.channel, room.listener).catch(() => {});
    }
    return room.leave(this.entry);
  }
}

module.exports = { Rooms };
