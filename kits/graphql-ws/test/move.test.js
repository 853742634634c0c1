"use strict";
// Moves of one session between two servers, with a test in the place of the balancer.

const assert = require("assert/strict");
const { test } = require("node:test");
const { once } = require("events");
const { GraphQLError } = require("graphql");
const { until, sleep, startRedis, startServer, Feed, Peer, open, stored, takeOver, move } = require("./servers");

async function two(t, options) {
  const redis = await startRedis(t);
  const feed = new Feed();
  return { redis, feed, a: await startServer(redis, feed, options), b: await startServer(redis, feed, options) };
}

const next = (id, field, value) => ({ id, type: "next", payload: { data: { [field]: value } } });

test("subscriptions continue, and the client isn't told", async (t) => {
  const { a, b, feed } = await two(t);
  const { session, peer } = await open(t, a, { token: "t" });
  assert.equal((await peer.answer).headers["holdfast-control"], "1");
  peer.subscribe("quiet", "subscription { tick }");
  peer.subscribe("1", "subscription { tick }");
  peer.subscribe("ended", "subscription { tick }");
  await until("stored", async () => (await stored(a, session)).operations.length === 3);
  feed.publish();
  await peer.find(next("1", "tick", 1));
  peer.send({ type: "complete", id: "ended" });
  const other = await takeOver(t, b, session);
  assert.equal(other.status, 101);
  await sleep(50);
  assert.deepEqual(b.calls, [], "nothing begins before the notice");
  peer.ws.ping("holdfast leave");
  assert.equal(await peer.ended, 1012);
  feed.publish(); // in between
  await other.ping("holdfast begin");
  await other.find(next("1", "tick", 2));
  feed.publish();
  await other.find(next("1", "tick", 3));
  await other.find(next("quiet", "tick", 3));
  for (const id of ["1", "quiet"]) assert.deepEqual([...peer.values(id, "tick"), ...other.values(id, "tick")], [1, 2, 3], id);
  assert.deepEqual(new Set(other.got.map(({ id }) => id)), new Set(["1", "quiet"]), "no ack, and no other operation");
  assert.deepEqual(a.calls, [{ connect: { token: "t" } }, { disconnect: 1012, moved: true }]);
  assert.deepEqual(b.calls, [{ connect: { token: "t" }, reason: "drain", from: "old", move: 1 }]);
  other.send({ id: "1", type: "complete" });
  other.subscribe("1", "subscription { tick }"); // the same ID, and no cursor of the old one
  await until("stored", async () => (await stored(b, session)).operations.length === 2);
  feed.publish();
  await other.find(next("1", "tick", 4));
  other.ws.close(1000);
  await until("forgotten", async () => !(await stored(b, session)));
});

test("an operation is completed once, wherever it ends", async (t) => {
  const { a, b } = await two(t);
  const { session, peer } = await open(t, a);
  peer.subscribe("here", "subscription { three }");
  await until("subscribed", () => a.answers.listenerCount("answer") === 1);
  for (const n of [1, 2, 3]) {
    a.answers.emit("answer");
    await peer.find(next("here", "three", n));
  }
  await peer.find({ id: "here", type: "complete" });
  peer.subscribe("there", "subscription { three }");
  await until("subscribed", () => a.answers.listenerCount("answer") === 1);
  a.answers.emit("answer");
  await peer.find(next("there", "three", 1));
  const other = await move(t, peer, b, session);
  for (const n of [2, 3]) {
    await until("subscribed", () => b.answers.listenerCount("answer") === 1);
    b.answers.emit("answer");
    await other.find(next("there", "three", n));
  }
  await other.find({ id: "there", type: "complete" });
  const last = await move(t, other, a, session, 2);
  last.send({ type: "ping" });
  await last.find({ type: "pong" });
  assert.deepEqual([...peer.got, ...other.got, ...last.got].filter(({ type }) => type === "complete").map(({ id }) => id), ["here", "there"]);
  assert.deepEqual(b.calls.filter(({ three }) => three !== undefined), [{ three: 1, resumed: true }]);
});

test("the old server finishes queries and mutations, for a while", async (t) => {
  const { a, redis, feed } = await two(t, { finish: 60_000 });
  const b = await startServer(redis, feed, { finish: 100 });
  const { session, peer } = await open(t, a);
  peer.subscribe("m", "mutation { slow }");
  await until("begun", () => a.calls.includes("slow"));
  const other = await takeOver(t, b, session);
  peer.ws.ping("holdfast leave");
  await sleep(50);
  a.answers.emit("answer", "done");
  await peer.find(next("m", "slow", "done"));
  await peer.find({ id: "m", type: "complete" });
  assert.equal(await peer.ended, 1012);
  await other.ping("holdfast begin");

  other.subscribe("m", "mutation { slow }");
  other.subscribe("q", "{ slow }");
  await until("begun", () => b.calls.filter((call) => call === "slow").length === 2);
  const last = await move(t, other, a, session, 2);
  const { payload } = await last.find({ id: "m", type: "next" });
  assert.equal(payload.errors[0].extensions.code, "SERVER_LOST");
  await last.find({ id: "m", type: "complete" });
  b.answers.emit("answer", "too late");
  await until("executed again", () => a.answers.listenerCount("answer") === 1);
  a.answers.emit("answer", "again");
  await last.find(next("q", "slow", "again"));
  assert.deepEqual(a.calls.filter((call) => call === "slow").length, 2, "the mutation was executed once there, and the query");
});

test("after a crash, operations continue from the last state", async (t) => {
  const { a, redis, feed } = await two(t, { saveEvery: 60_000 });
  const b = await startServer(redis, feed, { saveEvery: 50 });
  const { session, peer } = await open(t, a, undefined);
  peer.subscribe("s", "subscription { tick }");
  peer.subscribe("m", "mutation { slow }");
  await until("begun", () => a.calls.includes("slow"));
  feed.publish();
  await peer.find(next("s", "tick", 1));
  const other = await takeOver(t, b, session, { reason: "loss" }); // a doesn't know
  await other.ping("holdfast begin");
  feed.publish();
  await other.find(next("s", "tick", 2));
  assert.deepEqual(other.values("s", "tick"), [1, 2], "the first again: the state of before was saved");
  await other.find({ type: "pong" });
  assert.equal((await other.find({ id: "m", type: "next" })).payload.errors[0].extensions.code, "SERVER_LOST");
  assert.deepEqual(b.calls[0], { connect: undefined, reason: "loss", from: "old", move: 1 });
  peer.subscribe("late", "subscription { tick }");
  await peer.find(next("s", "tick", 2));
  await until("stored", async () => (await stored(b, session)).operations.length === 1);
  assert.equal((await stored(b, session)).operations[0][0], "s", "the old server can't write");
});

test("a lost connection may come back to the same server", async (t) => {
  const { a, feed } = await two(t, { saveEvery: 60_000 });
  const { session, peer } = await open(t, a);
  peer.subscribe("s", "subscription { tick }");
  await until("stored", async () => (await stored(a, session)).operations.length === 1);
  feed.publish();
  await peer.find(next("s", "tick", 1));
  peer.ws.terminate();
  await until("stored", async () => (await stored(a, session)).operations[0][2] === "1");
  feed.publish();
  await until("disconnected", () => a.calls.some(({ disconnect }) => disconnect === 1006));
  const other = await takeOver(t, a, session, { reason: "loss" });
  await other.ping("holdfast begin");
  feed.publish();
  await other.find(next("s", "tick", 3));
  assert.deepEqual(other.values("s", "tick"), [2, 3]);
});

test("without a cursor, a subscription begins again", async (t) => {
  const { a, b, feed } = await two(t, { cursor: undefined });
  const { session, peer } = await open(t, a);
  peer.subscribe("s", "subscription { tick }");
  await until("subscribed", () => feed.listenerCount("tick") === 1);
  feed.publish();
  await peer.find(next("s", "tick", 1));
  const other = await takeOver(t, b, session);
  peer.ws.ping("holdfast leave");
  await peer.ended;
  feed.publish(); // lost
  await other.ping("holdfast begin");
  await until("subscribed", () => feed.listenerCount("tick") === 1);
  feed.publish();
  await other.find(next("s", "tick", 3));
  assert.deepEqual(other.values("s", "tick"), [3]);
});

test("the new server can refuse", async (t) => {
  const { a, b } = await two(t, { server: { onConnect: (ctx) => !ctx.extra.reattached } });
  const { session, peer } = await open(t, a);
  const other = await move(t, peer, b, session);
  assert.equal(await other.ended, 4403, "as graphql-ws does");
  await until("forgotten", async () => !(await stored(b, session)));
});

test("onSubscribe is asked again", async (t) => {
  const { a, b } = await two(t, {
    server: { onSubscribe: (ctx) => ctx.extra.reattached && [new GraphQLError("no longer")] },
  });
  const { session, peer } = await open(t, a);
  peer.subscribe("s", "subscription { tick }");
  await until("stored", async () => (await stored(a, session)).operations.length === 1);
  const other = await move(t, peer, b, session);
  assert.equal((await other.find({ id: "s", type: "error" })).payload[0].message, "no longer");
});

test("another server is asked if onConnect fails", async (t) => {
  let broken = true;
  const { a, b, feed } = await two(t, {
    server: {
      onConnect: (ctx) => {
        if (ctx.extra.reattached && broken) throw new Error("not now");
      },
    },
  });
  const { session, peer } = await open(t, a);
  peer.subscribe("s", "subscription { tick }");
  await until("stored", async () => (await stored(a, session)).operations.length === 1);
  const other = await move(t, peer, b, session);
  assert.equal(await other.ended, 1011, "the balancer looks for another server");
  assert.match(b.warnings.join(), /not now/);
  broken = false;
  feed.publish();
  const last = await takeOver(t, a, session, { move: 2 });
  await last.ping("holdfast begin");
  await last.find(next("s", "tick", 1));
});

test("a session that isn't known is refused", async (t) => {
  const { a, b, redis } = await two(t, { redisTimeout: 1000 });
  assert.equal((await takeOver(t, a, "unknown")).status, 404);
  const { session, peer } = await open(t, a);
  const other = await takeOver(t, b, session);
  peer.ws.close(1000);
  await until("forgotten", async () => !(await stored(a, session)));
  await other.ping("holdfast begin");
  assert.equal(await other.ended, 4404);
  redis.process.kill("SIGSTOP");
  assert.equal((await takeOver(t, a, session)).status, 503, "Redis doesn't answer");
  redis.process.kill("SIGCONT");
  assert.match(a.warnings.join(), /no answer within 1000 ms/);
});

test("clients go on while Redis doesn't answer", async (t) => {
  const { a, b, redis, feed } = await two(t, { redisTimeout: 1000, saveEvery: 50 });
  const { session, peer } = await open(t, a);
  redis.process.kill("SIGSTOP");
  peer.subscribe("1", "subscription { tick }");
  await until("subscribed", () => feed.listenerCount("tick") === 1);
  peer.subscribe("2", "subscription { tick }");
  await until("subscribed", () => feed.listenerCount("tick") === 2);
  feed.publish();
  await peer.find(next("2", "tick", 1));
  redis.process.kill("SIGCONT");
  await until("stored", async () => (await stored(a, session)).operations.length === 2);
  const other = await move(t, peer, b, session);
  feed.publish();
  await other.find(next("1", "tick", 2));
  await other.find(next("2", "tick", 2));
});

test("a state that can't be stored isn't lost in silence", async (t) => {
  const { a, b, redis } = await two(t, { redisTimeout: 1000 });
  const { session, peer } = await open(t, a);
  assert.equal((await takeOver(t, b, session)).status, 101);
  redis.process.kill("SIGSTOP");
  peer.ws.ping("holdfast leave");
  assert.equal(await peer.ended, 4513, "a code that is for the client, which connects again");
  redis.process.kill("SIGCONT");
});

test("a client may connect in the middle of a move", async (t) => {
  let connect = () => {};
  const wait = () => new Promise((done) => (connect = done));
  const { a, b } = await two(t, { finish: 0, server: { onConnect: (ctx) => (ctx.extra.reattached ? { hello: "again" } : wait()) } });
  const peer = new Peer(a, "connecting");
  t.after(() => peer.ws.terminate());
  await once(peer.ws, "open");
  peer.send({ type: "connection_init", payload: { n: 1 } });
  await peer.ping("arrived");
  const other = await move(t, peer, b, "connecting");
  assert.deepEqual((await other.find({ type: "connection_ack" })).payload, { hello: "again" });
  connect();
  assert.deepEqual(peer.got, []);
});

test("messages wait until the session is restored", async (t) => {
  const { a, b } = await two(t, { server: { onConnect: (ctx) => (ctx.extra.reattached ? sleep(200).then(() => true) : true) } });
  const { session, peer } = await open(t, a);
  const other = await move(t, peer, b, session);
  other.send({ type: "ping" });
  other.subscribe("q", "{ where }");
  await other.find({ id: "q", type: "complete" });
  const last = await takeOver(t, a, session, { move: 2 });
  other.ws.ping("holdfast leave");
  await other.ended;
  await last.ping("holdfast begin");
  last.ws.close(1000);
  await until("disconnected", () => a.calls.some(({ disconnect }) => disconnect === 1000));
});

test("a session can leave as soon as it has come", async (t) => {
  const { a, b, feed } = await two(t, { server: { onConnect: (ctx) => (ctx.extra.reattached ? sleep(100).then(() => true) : true) } });
  const { session, peer } = await open(t, a);
  peer.subscribe("s", "subscription { tick }");
  await until("stored", async () => (await stored(a, session)).operations.length === 1);
  const other = await move(t, peer, b, session);
  const last = await move(t, other, a, session, 2);
  feed.publish();
  await last.find(next("s", "tick", 1));
});
