"use strict";
// Rooms shared by Node and Go servers: the part of the Go package hub that a chat
// needs, with the same scripts and the same layout in Redis (docs/hub.md).
//
// Members receive messages and presence in one way only: by syncing their room,
// which reads from Redis who is present and the messages after the last one they
// got. A payload on a room's channel only triggers a sync. So payloads may be
// missed, late or duplicated, and one sync after an outage catches up. Only
// notices, which aren't stored, are passed on directly.
//
// Not included: SendTo and Disconnect, a limit on the number of rooms, timeouts for
// a Redis that doesn't answer, stable presence after Redis has lost its data, and
// keeping a room's history for longer than a day after its last message.

const { randomBytes } = require("crypto");
const { readFileSync } = require("fs");
const path = require("path");
const { createClient, defineScript } = require("redis");

// All servers that share rooms must use the same values. These are those of ../chat.
const SERVERS = "chat:servers";
const channelOf = (room) => `chat:{${encodeURIComponent(room)}}`;
const HISTORY = 500; // number of messages that a room keeps
const TTL = 24 * 3600_000; // ms: how long a room keeps them after the last one
const LEASE = 5_000; // ms: time within which the members of a crashed server leave
const LEASE_TIME = 0.7 * LEASE;
const ALL = 1e15; // no limit of bytes or of fields
const RENEW_INTERVAL = 0.2 * LEASE;

const read = (name) => readFileSync(path.join(__dirname, `../../hub/scripts/${name}.lua`), "utf8");
const script = (name, keys) => defineScript({
  SCRIPT: read("prelude") + read(name),
  NUMBER_OF_KEYS: keys,
  parseCommand: (parser, ...args) => parser.push(...args.map(String)),
});
const scripts = {
  append: script("publish", 2), add: script("join", 2), leave: script("leave", 1),
  sync: script("sync", 3), renew: script("renew", 1),
};

// retry repeats an operation until it succeeds.
const retry = (operation) => operation().catch(() => setTimeout(retry, RENEW_INTERVAL, operation));

const GAP = '{"type":"gap"}';

const { compare } = new Intl.Collator("en", { numeric: true }); // of IDs: two numbers and a hyphen

class Rooms {
  constructor(url) {
    this.redis = createClient({ url, scripts, disableOfflineQueue: true }); // commands fail while disconnected
    this.server = randomBytes(12).toString("base64url");
    this.lastEntry = 0;
    this.byChannel = new Map(); // rooms that have members on this server
    this.dead = null; // servers whose lease has expired
    this.graceUntil = 0; // ms: until then no other servers are considered dead
  }

  // open connects and acquires a lease, so that the server has one before its
  // members become visible. It subscribes to all rooms with one pattern. That is
  // simpler than subscribing only to the rooms with members here, but more
  // expensive if there are many servers.
  async open() {
    this.redis.on("error", (error) => console.error("Redis:", error.message));
    await this.redis.connect();
    await this.renewLease();
    this.renewing = setInterval(() => this.renewLease().catch(() => {}), RENEW_INTERVAL);
    await this.redis.pSubscribe(channelOf("*"), (payload, channel) => this.byChannel.get(channel)?.onPayload(payload));
    this.redis.on("ready", () => this.onReconnect());
  }

  // close gives up the lease, so that other servers see at once that this one is
  // gone. When it resolves, Redis has also executed all earlier commands.
  close() {
    clearInterval(this.renewing);
    return this.redis.renew(SERVERS, this.server, -1, 2 * TTL);
  }

  // onReconnect is called after an outage of Redis, in which payloads were missed.
  // Other servers couldn't renew their leases either, and get time to do so.
  onReconnect() {
    this.graceUntil = Date.now() + LEASE_TIME;
    for (const room of this.byChannel.values()) retry(() => room.sync());
  }

  // renewLease renews the lease of this server, and removes members of dead ones.
  async renewLease() {
    const [expired, dead] = await this.redis.renew(SERVERS, this.server, LEASE_TIME, 2 * TTL);
    if (expired && this.dead) this.onReconnect();
    if (Date.now() < this.graceUntil) return;
    this.dead = new Set(dead);
    for (const room of this.byChannel.values()) {
      for (const { entry, server } of room.entries) if (this.dead.has(server)) room.remove(entry);
      room.updatePresence();
    }
  }

  // join makes who, { member, name, room }, present in the room and returns its
  // membership. Events are delivered only after membership.start.
  async join(who) {
    const channel = channelOf(who.room);
    const room = this.byChannel.get(channel) ?? new Room(this, channel);
    this.byChannel.set(channel, room);
    const membership = new Membership(room, `${this.server}/${++this.lastEntry}`, who);
    room.memberships.add(membership);
    await room.sync().catch((error) => {
      membership.leave();
      throw error;
    });
    return membership;
  }

  // publish can be repeated until it succeeds: a key is only once in the history.
  publish(room, key, sender, data) {
    const channel = channelOf(room);
    return this.redis.append(
      channel + ":s", channel + ":k", "PUBLISH", channel, key, encodeURIComponent(sender), data, HISTORY, TTL);
  }

  // notify is for what is soon out of date. While Redis is unreachable, it reaches
  // only the members on this server.
  notify(room, data) {
    const channel = channelOf(room);
    return this.redis.publish(channel, "n\n" + data).catch(() => this.byChannel.get(channel)?.send(data));
  }
}

class Room {
  constructor(rooms, channel) {
    Object.assign(this, { rooms, channel, redis: rooms.redis, stream: channel + ":s", members: channel + ":m" });
    this.memberships = new Set(); // on this server
    this.entries = []; // of memberships on all servers, as last read
    this.present = new Map(); // name by member, as last sent to the members here
    this.reading = Promise.resolve();
  }

  onPayload(payload) {
    if (payload.startsWith("n\n")) this.send(payload.slice(2));
    else retry(() => this.sync(!payload.startsWith("m ")));
  }

  send(text) {
    for (const membership of this.memberships) membership.send?.(text);
  }

  // sync reads everything that is in Redis at the time of the call, and resolves
  // when that is done: the messages, and if full, also who is present and whether
  // Redis has lost messages. All calls made during a read share the next read.
  sync(full = true) {
    this.full ||= full;
    this.next ??= this.reading.catch(() => {}).then(() => {
      this.next = null;
      return (this.reading = this.read());
    });
    return this.next;
  }

  // read does one sync. If full, it also adds entries again that Redis has lost or
  // another server has removed.
  async read() {
    const { full, memberships, redis, stream } = this;
    this.full = false;
    const started = [...memberships].filter((m) => m.send); // those that start meanwhile may need older messages
    const oldest = started.map((m) => m.last).sort(compare)[0] ?? "";
    if (full ? memberships.size === 0 : !oldest) return;
    let newest, entries, members;
    if (full) {
      const mine = [...memberships].flatMap(toArguments);
      await redis.add(this.members, stream, "PUBLISH", this.channel, TTL, "", 0, 0, ...mine);
      [newest, entries, , , , members] = await redis.sync(
        this.members, stream, this.channel + ":k", TTL, TTL * 9 / 8, oldest, ALL, ALL);
    } else {
      entries = await redis.sendCommand(["XRANGE", stream, "(" + oldest, "+"]);
    }
    if (full) {
      this.entries = toEntries(members);
      this.updatePresence();
    }
    const messages = entries.map(toMessage);
    for (const membership of started) membership.deliver(messages, newest ?? messages.at(-1)?.id);
  }

  // updatePresence sends who has joined and left. A member may have several
  // entries: a session that moves joins on the new server before it leaves the old.
  updatePresence() {
    const before = this.present;
    const alive = this.entries.filter(({ server }) => !this.rooms.dead.has(server));
    this.present = new Map(alive.map(({ member, name }) => [member, name]));
    for (const [member, name] of this.present) {
      if (before.get(member) !== name) this.send(JSON.stringify({ type: "here", member, name }));
    }
    for (const [member, name] of before) {
      if (!this.present.has(member)) this.send(JSON.stringify({ type: "gone", member, name }));
    }
  }

  remove(entry) {
    retry(() => this.redis.leave(this.members, "PUBLISH", this.channel, TTL, entry));
  }
}

const toArguments = ({ entry, who }) => [entry, `${encodeURIComponent(who.member)}\n${who.name}`];

// toEntries parses the hash of members. Its fields that aren't entries are the
// epoch and the version.
function toEntries(fields) {
  const entries = [];
  for (let i = 0; i < fields.length; i += 2) {
    const [server, number] = fields[i].split("/");
    const [member, name] = fields[i + 1].split("\n");
    if (number) entries.push({ entry: fields[i], server, member: decodeURIComponent(member), name });
  }
  return entries;
}

// toMessage parses an entry of the stream: p, the ID before, k, the key, s, the
// sender, and d, the data. The text for the pages is the same for all members.
function toMessage([id, [, before, , , , , , data]]) {
  return { id, before, text: `{"type":"message","id":"${id}","time":${parseInt(id)},"post":${data}}` };
}

class Membership {
  constructor(room, entry, who) {
    Object.assign(this, { room, entry, who, send: null, last: "" }); // last: ID of the last message delivered
  }

  // start calls send with who is present, with the messages after since (or without
  // since, with the last count messages), and then with everything that follows.
  async start(since, count, send) {
    const { room } = this;
    this.send = null; // it may have been started before
    const history = since ? [] : await room.redis.xRevRange(room.stream, "+", "-", { COUNT: count });
    const people = [...room.present].map(([member, name]) => ({ member, name }));
    send(JSON.stringify({ type: "joined", room: this.who.room, people }));
    Object.assign(this, { send, last: since || (history.at(-1)?.message.p ?? "0-0") });
    await room.sync();
  }

  deliver(messages, newest = this.last) {
    if (!this.send) return; // it has left
    const missed = messages.filter(({ id }) => compare(id, this.last) > 0);
    if ((missed[0]?.before ?? newest) !== this.last) this.send(GAP); // messages were trimmed, or lost by Redis
    for (const { text } of missed) this.send(text);
    this.last = newest;
  }

  leave() {
    const { room } = this;
    this.send = null;
    room.memberships.delete(this);
    if (room.memberships.size === 0) room.rooms.byChannel.delete(room.channel);
    room.remove(this.entry);
  }
}

module.exports = { GAP, Rooms };
