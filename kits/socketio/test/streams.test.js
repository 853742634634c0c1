"use strict";
// Sockets get each broadcast once, however reads, answers and moves interleave.

const assert = require("assert/strict");
const { test } = require("node:test");
const { Stream, compare, matches, replay, streamOf } = require("../lib/streams");

// random is a generator of numbers below n that a seed determines.
function random(seed) {
  return (n) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * n);
  };
}

// World has a stream of Redis and servers that write and read it, step by step.
class World {
  constructor(names) {
    this.log = [];
    this.servers = names.map((uid) => {
      class Adapter {
        static decode(raw) {
          return { ...raw, type: Number(raw.type) };
        }
        onRawMessage() {}
        doPublish() {}
        encode(message) {
          return { uid, nsp: "/", type: "3", data: message.data };
        }
      }
      const adapter = Object.assign(new Adapter(), { uid, nsp: { name: "/" } });
      const redis = { call: async (command, name, from) => this.range(from) };
      const stream = new Stream({ name: "/", adapter }, redis, { streamName: "s", streamCount: 1 });
      stream.position = "0-0";
      return { stream, uid, read: 0, unanswered: [], sockets: new Set() };
    });
  }

  range(from) {
    return this.log.filter(({ id }) => compare(id, from) >= 0).map(({ id, raw }) => [id, Object.entries(raw).flat()]);
  }

  publish(server) {
    const id = `1-${this.log.length + 1}`;
    const message = { data: id };
    this.log.push({ id, raw: { uid: server.uid, nsp: "/", type: "3", data: id } });
    server.unanswered.push({ id, message });
  }

  // answer delivers a message of the server's own.
  answer(server) {
    const next = server.unanswered.shift();
    if (!next) return;
    server.stream.published(next.id, next.message);
    for (const socket of server.sockets) socket.got.push(next.id);
  }

  read(server) {
    const entry = this.log[server.read];
    if (!entry) return;
    server.read++;
    server.stream.read(entry.raw, entry.id);
    if (entry.raw.uid !== server.uid) for (const socket of server.sockets) socket.got.push(entry.id);
  }

  step(n) {
    const server = this.servers[n(this.servers.length)];
    [this.publish, this.answer, this.answer, this.read, this.read][n(5)].call(this, server);
  }
}

test("each broadcast once", async () => {
  for (let seed = 0; seed < 300; seed++) {
    const n = random(seed);
    const world = new World(["a", "b", "c"]);
    const steps = () => {
      for (let i = n(12); i > 0; i--) world.step(n);
    };
    steps();
    const socket = { got: [] };
    let at = world.servers[0];
    at.sockets.add(socket);
    // It has what was delivered before, as far as it is concerned.
    const before = at.stream.cut();
    const had = new Set([...before.ahead]);
    for (let moves = 0; moves < 3; moves++) {
      steps();
      const cut = structuredClone(at.stream.cut());
      at.sockets.delete(socket);
      steps();
      at = world.servers[n(3)];
      const loading = at.stream.missed(cut);
      steps(); // after the stream was read, before the answer is there
      const missed = await loading;
      steps();
      while (!missed.ready()) {
        world.answer(at);
        world.read(at);
      }
      for (const { id } of missed.take()) socket.got.push(id);
      at.sockets.add(socket);
      assert.equal(at.stream.recordings.size, 0);
    }
    steps();
    for (let i = 0; i <= world.log.length; i++) {
      for (const server of world.servers) {
        world.answer(server);
        world.read(server);
      }
    }
    const expected = world.log.map(({ id }) => id)
      .filter((id) => (compare(id, before.position) > 0 ? !had.has(id) : before.behind.includes(id)));
    assert.deepEqual(socket.got.slice().sort(compare), expected, `seed ${seed}`);
  }
});

test("rooms of missed messages", () => {
  for (const [rooms, opts, want] of [
    [["a"], { rooms: [], except: [] }, true],
    [["a"], { rooms: ["a", "b"], except: [] }, true],
    [["a"], { rooms: ["b"], except: [] }, false],
    [["a", "b"], { rooms: ["a"], except: ["b"] }, false],
    [["a"], { rooms: [], except: ["a"] }, false],
  ]) assert.equal(matches(new Set(rooms), opts), want);

  const event = (id, rooms, extra = {}) => ({ id, type: 3, data: { packet: { type: 2, data: [id] }, opts: { rooms, except: [], ...extra } } });
  const messages = [
    event("1-1", ["later"]),
    { id: "1-2", type: 4, data: { opts: { rooms: ["me"], except: [] }, rooms: ["later"] } },
    event("1-3", ["later"]),
    event("1-4", ["later"], { flags: { volatile: true } }),
    { id: "1-5", type: 5, data: { opts: { rooms: ["me"], except: [] }, rooms: ["later"] } },
    event("1-6", ["later"]),
    { id: "1-7", type: 6, data: { opts: { rooms: ["me"], except: [] }, close: true } },
  ];
  const rooms = new Set(["me"]);
  const { packets, disconnect } = replay(messages, rooms, true);
  assert.deepEqual(packets.map(({ data }) => data), [["1-3", "1-3"], ["1-4"]]);
  assert.deepEqual([...rooms], ["me"]);
  assert.equal(disconnect, "connection");
});

test("the stream of a namespace", () => {
  assert.equal(streamOf("/", { streamName: "s", streamCount: 1 }), "s");
  assert.equal(streamOf("/", { streamName: "s", streamCount: 4 }), "s-3"); // the code of "/" is 47
});
