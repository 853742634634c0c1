"use strict";
// Rooms that Node and Go servers have in common: what a chat needs of the Go
// package hub, by its own scripts and layout in Redis (docs/hub.md).
//
// There is one way for members to get anything: their room is looked at. What the
// stream has after the message that they got last is read, and who is there. A
// word on a room's channel only means "look": it may be missed, late or doubled,
// and after an outage one more look makes up for all of it. Only notices, which
// are kept nowhere, are passed on as they come.
//
// It leaves out: bounds on the rooms, a Redis that is there but doesn't answer,
// keeping who is present from flickering where Redis has lost its data, and the
// history of a room for longer than a day after its last message.

const { randomBytes } = require("crypto");
const { readFileSync } = require("fs");
const path = require("path");
const { createClient, defineScript } = require("redis");

// All servers that share rooms must agree on these; they are those of ../chat.
const SERVERS = "chat:servers";
const channelOf = (room) => `chat:{${encodeURIComponent(room)}}`;
const HISTORY = 500; // messages a room keeps
const TTL = 24 * 3600_000; // ms: and for how long
const LEASE = 5_000; // ms: members of a server that crashed are gone within this
const LEASE_TIME = 0.7 * LEASE;
const BEAT = 0.2 * LEASE;

const read = (name) => readFileSync(path.join(__dirname, `../../hub/scripts/${name}.lua`), "utf8");
const script = (name, keys) => defineScript({
  SCRIPT: read("prelude") + read(name),
  NUMBER_OF_KEYS: keys,
  parseCommand: (parser, ...args) => parser.push(...args.map(String)),
});
const scripts = {
  append: script("publish", 2), leave: script("leave", 1), sync: script("sync", 2), beat: script("beat", 1),
};

// persist does what needs Redis, however long that is away.
const persist = (step) => step().catch(() => setTimeout(persist, BEAT, step));

const GAP = '{"type":"gap"}';

const { compare } = new Intl.Collator("en", { numeric: true }); // of IDs, which are two numbers and a hyphen

class Rooms {
  constructor(url) {
    this.redis = createClient({ url, scripts, disableOfflineQueue: true }); // commands fail while it is away
    this.server = randomBytes(12).toString("base64url");
    this.places = 0; // taken so far
    this.followed = new Map(); // rooms with members here, by channel
    this.dead = null; // servers whose lease has run out
    this.mercy = 0; // until then no more are taken for dead
  }

  // open takes a lease before anybody sees a member of this server. By one pattern
  // it hears of all rooms, which is simpler than to subscribe those with members
  // here, and costs more where there are many servers.
  async open() {
    this.redis.on("error", (error) => console.error("Redis:", error.message));
    await this.redis.connect();
    await this.beat();
    this.beating = setInterval(() => this.beat().catch(() => {}), BEAT);
    await this.redis.pSubscribe(channelOf("*"), (word, channel) => this.followed.get(channel)?.hear(word));
    this.redis.on("ready", () => this.back());
  }

  // close has others see at once that this server is gone. By then Redis has
  // also done what it was sent before.
  close() {
    clearInterval(this.beating);
    return this.redis.beat(SERVERS, this.server, -1, 2 * TTL);
  }

  // back is called when Redis was away, so that words were missed. Other servers
  // couldn't renew their leases either, and get the time to do so.
  back() {
    this.mercy = Date.now() + LEASE_TIME;
    for (const room of this.followed.values()) persist(() => room.look());
  }

  // beat renews the lease of this server, and takes out who was on dead ones.
  async beat() {
    const [lapsed, dead] = await this.redis.beat(SERVERS, this.server, LEASE_TIME, 2 * TTL);
    if (lapsed && this.dead) this.back();
    if (Date.now() < this.mercy) return;
    this.dead = new Set(dead);
    for (const room of this.followed.values()) {
      for (const { entry, server } of room.entries) if (this.dead.has(server)) room.remove(entry);
      room.show();
    }
  }

  // enter gives who, { member, name, room }, a place: others see it in the room,
  // but it gets nothing before place.start.
  async enter(who) {
    const channel = channelOf(who.room);
    const room = this.followed.get(channel) ?? new Room(this, channel);
    this.followed.set(channel, room);
    const place = new Place(room, `${this.server}/${++this.places}`, who);
    room.here.add(place);
    await room.look().catch((error) => {
      place.leave();
      throw error;
    });
    return place;
  }

  // publish can be tried until it succeeds: the history has a key only once.
  publish(room, key, data) {
    const channel = channelOf(room);
    return this.redis.append(channel + ":s", channel + ":k", channel, key, data, HISTORY, TTL);
  }

  // notify is for what is stale in a moment. While Redis is away, those hear of it
  // who are on this server.
  notify(room, data) {
    const channel = channelOf(room);
    return this.redis.publish(channel, "n\n" + data).catch(() => this.followed.get(channel)?.tell(data));
  }
}

class Room {
  constructor(rooms, channel) {
    Object.assign(this, { rooms, channel, redis: rooms.redis, stream: channel + ":s", members: channel + ":m" });
    this.here = new Set(); // places on this server
    this.entries = []; // of places on all servers, as last read
    this.people = new Map(); // name by member: who is there, as told here
    this.reading = Promise.resolve();
  }

  hear(word) {
    if (word.startsWith("n\n")) this.tell(word.slice(2));
    else persist(() => this.look(!word.startsWith("m ")));
  }

  tell(text) {
    for (const place of this.here) place.send?.(text);
  }

  // look resolves when all has been read that was there when it was called: the
  // messages and, in full, who is present and whether Redis has lost messages.
  // Calls that come during a reading lead to one more, however many they are.
  look(full = true) {
    this.full ||= full;
    this.next ??= this.reading.catch(() => {}).then(() => {
      this.next = null;
      return (this.reading = this.read());
    });
    return this.next;
  }

  // read, in full, also enters again whom Redis has lost, or a server taken out.
  async read() {
    const { full, here, redis, stream } = this;
    this.full = false;
    const started = [...here].filter((place) => place.send); // who starts meanwhile may want older messages
    const oldest = started.map((place) => place.last).sort(compare)[0] ?? "";
    if (full ? here.size === 0 : !oldest) return;
    const [newest, messages, members] = full
      ? await redis.sync(this.members, stream, this.channel, TTL, oldest, HISTORY, ...[...here].flatMap(toArguments))
      : [null, await redis.sendCommand(["XRANGE", stream, "(" + oldest, "+"])];
    if (full) {
      this.entries = toEntries(members);
      this.show();
    }
    const news = messages.map(toMessage);
    for (const place of started) place.deliver(news, newest ?? news.at(-1)?.id);
  }

  // show tells who came and went. Somebody may have several entries: who moves to
  // another server enters there before leaving here.
  show() {
    const before = this.people;
    const alive = this.entries.filter(({ server }) => !this.rooms.dead.has(server));
    this.people = new Map(alive.map(({ member, name }) => [member, name]));
    for (const [member, name] of this.people) {
      if (before.get(member) !== name) this.tell(JSON.stringify({ type: "here", member, name }));
    }
    for (const [member, name] of before) {
      if (!this.people.has(member)) this.tell(JSON.stringify({ type: "gone", member, name }));
    }
  }

  remove(entry) {
    persist(() => this.redis.leave(this.members, this.channel, entry));
  }
}

const toArguments = ({ entry, who }) => [entry, `${encodeURIComponent(who.member)}\n${who.name}`];

// toEntries reads the hash of members. What is no entry in it counts changes.
function toEntries(fields) {
  const entries = [];
  for (let i = 0; i < fields.length; i += 2) {
    const [server, number] = fields[i].split("/");
    const [member, name] = fields[i + 1].split("\n");
    if (number) entries.push({ entry: fields[i], server, member: decodeURIComponent(member), name });
  }
  return entries;
}

// toMessage reads an entry of the stream: p, the ID before, k, the key, and d,
// the data. The text for the pages is made once, whatever the members.
function toMessage([id, [, before, , , , data]]) {
  return { id, before, text: `{"type":"message","id":"${id}","time":${parseInt(id)},"post":${data}}` };
}

// Place is a member's place in a room.
class Place {
  constructor(room, entry, who) {
    Object.assign(this, { room, entry, who, send: null, last: "" }); // last: ID of the message that it got last
  }

  // start gives send, from now on, who is there, what came after since (or the
  // last count messages, without), and all that comes.
  async start(since, count, send) {
    const { room } = this;
    this.send = null; // it may have started before
    const shown = since ? [] : await room.redis.xRevRange(room.stream, "+", "-", { COUNT: count });
    const people = [...room.people].map(([member, name]) => ({ member, name }));
    send(JSON.stringify({ type: "joined", room: this.who.room, people }));
    Object.assign(this, { send, last: since || (shown.at(-1)?.message.p ?? "0-0") });
    await room.look();
  }

  deliver(messages, newest = this.last) {
    if (!this.send) return; // it has left
    const missed = messages.filter(({ id }) => compare(id, this.last) > 0);
    if ((missed[0]?.before ?? newest) !== this.last) this.send(GAP); // trimmed, or lost by Redis
    for (const { text } of missed) this.send(text);
    this.last = newest;
  }

  leave() {
    const { room } = this;
    this.send = null;
    room.here.delete(this);
    if (room.here.size === 0) room.rooms.followed.delete(room.channel);
    room.remove(this.entry);
  }
}

module.exports = { GAP, Rooms };
