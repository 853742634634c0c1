"use strict";

const assert = require("assert/strict");
const { test } = require("node:test");
const { Redis, Store, pack, unpack, notice } = require("../lib/core");
const { startRedis } = require("./servers");

test("only the owner of a session can write", async (t) => {
  const redis = await startRedis(t);
  const store = new Store(new Redis(await redis.connect(), 5000), "p:", 60_000);
  const first = { session: "s", epoch: 0, server: 1, move: 0 };
  assert.equal(await store.peek("s"), "");
  assert.equal(await store.claim("s", 2, 1), null);
  assert.equal(await store.save(first, "one"), true);
  assert.equal(await store.peek("s"), "one");
  assert.deepEqual(await store.claim("s", 2, 3), { epoch: 1, previous: 1, final: false, state: "one" });
  assert.equal(await store.save(first, "too late", true), false);
  assert.equal(await store.drop(first), 0);
  const second = { session: "s", epoch: 1, server: 2, move: 3 };
  assert.equal(await store.save(second, "two", true), true);
  assert.deepEqual(await store.claim("s", 3, 2), { superseded: true }, "of an earlier move");
  assert.deepEqual(await store.claim("s", 3, 4), { epoch: 2, previous: 2, final: true, state: "two" });
  assert.equal(await store.drop({ session: "s", epoch: 2, server: 3, move: 4 }), 1);
  const ttl = await store.redis.call("PTTL", store.key("s"));
  assert.equal(Number(ttl), -2);
});

test("numbers of servers are taken once", async (t) => {
  const redis = await startRedis(t);
  const store = new Store(new Redis(await redis.connect(), 5000), "p:", 60_000);
  const numbers = [7, 7, 8];
  assert.equal(await store.register(() => numbers.shift()), 7);
  assert.equal(await store.register(() => numbers.shift()), 8);
  await assert.rejects(store.register(() => 7), /no free number/);
});

test("clients of Redis", () => {
  assert.throws(() => new Redis({}, 1), /must be a client/);
  assert.throws(() => new Redis({ duplicate() {}, isCluster: true }, 1), /cluster/);
  assert.throws(() => new Redis({ duplicate() {} }, 1), /must be a client/);
});

test("values are stored as they are", () => {
  const value = { n: -1.5, s: "é", list: [null, true], bytes: Buffer.from([0, 255]), date: new Date(5), deep: { bytes: [Buffer.from("x")] } };
  const back = unpack(pack({ ...value, nothing: undefined }));
  assert.deepEqual(back, value);
  assert.ok(Buffer.isBuffer(back.deep.bytes[0]));
});

test("whom to trust", () => {
  const from = (remoteAddress) => ({ socket: { remoteAddress } });
  for (const [trust, address, want] of [
    [undefined, "192.0.2.1", true],
    [[], "192.0.2.1", false],
    [["192.0.2.1"], "192.0.2.1", true],
    [["192.0.2.1"], "::ffff:192.0.2.1", true],
    [["192.0.2.0/24"], "192.0.3.1", false],
    [["2001:db8::/32"], "2001:db8::1", true],
    [["2001:db8::/32"], undefined, false],
    [() => true, undefined, true],
  ]) assert.equal(notice.truster(trust)(from(address)), want, `${trust} ${address}`);
  for (const trust of [["example.com"], ["10.0.0.0/x"], ["10.0.0.0/33"], "10.0.0.1"]) {
    assert.throws(() => notice.truster(trust), `${trust}`);
  }
});

test("header fields", () => {
  assert.equal(notice.read({}), null);
  assert.deepEqual(notice.read({ "holdfast-session": "s" }), { session: "s", control: false, reason: "", from: "", move: 0 });
  const headers = { "holdfast-session": "s", "holdfast-control": "1", "holdfast-reattach": "loss", "holdfast-from": "a", "holdfast-move": "3", host: "h" };
  assert.deepEqual(notice.read(headers), { session: "s", control: true, reason: "loss", from: "a", move: 3 });
  notice.strip(headers);
  assert.deepEqual(headers, { host: "h" });
});
