"use strict";
// Moves of one session between two servers, with a test in the place of the balancer.

const assert = require("assert/strict");
const { test } = require("node:test");
const { until, sleep, startRedis, startServer, Peer, open, stored, takeOver, move } = require("./servers");

async function two(t, options) {
  const redis = await startRedis(t);
  return [await startServer(redis, options), await startServer(redis, options), redis];
}

test("a session continues with its ID, rooms, data and auth", async (t) => {
  const [a, b] = await two(t, {
    setup: (io) => io.on("connection", (socket) => {
      if (socket.recovered) return;
      socket.join("room");
      socket.data.list = [1, { two: Buffer.from("2") }];
    }),
    save: (socket) => `saved ${socket.id}`,
    restore: (socket, value) => (socket.restored = value),
  });
  const { session, peer } = await open(t, a, { token: "t" });
  const old = a.events[0].socket;
  assert.equal((await peer.answer).headers["holdfast-control"], "1");
  const next = await takeOver(t, b, session);
  assert.equal(next.status, 101);
  await sleep(50);
  assert.deepEqual(next.got, [], "the new server sends nothing before it begins");
  peer.ws.ping("holdfast leave");
  assert.equal(await peer.ended, 1012);
  await next.ping("holdfast begin");
  assert.equal(await next.find("2"), "2", "a ping of engine.io comes at once");
  await until("reattached", () => b.events.some(({ event }) => event === "reattach"));
  const { socket, reason, from, move: number } = b.events.find(({ event }) => event === "reattach");
  assert.deepEqual({ reason, from, number }, { reason: "drain", from: "old", number: 1 });
  assert.equal(b.events[0].event, "connection");
  assert.equal(socket.id, old.id);
  assert.equal(socket.recovered, true);
  assert.deepEqual(socket.reattached, { reason: "drain", from: "old", move: 1 });
  assert.equal(socket.restored, `saved ${old.id}`);
  assert.deepEqual(socket.handshake.auth, { token: "t" });
  assert.deepEqual(socket.data, { list: [1, { two: Buffer.from("2") }] });
  assert.deepEqual([...socket.rooms].sort(), ["room", old.id].sort());
  assert.deepEqual(a.events.map(({ event, reason }) => reason || event), ["connection", "moved"]);
  assert.equal(old.moved, true);
  b.io.to("room").emit("hello");
  await next.find('42["hello"]');
  assert.deepEqual(next.got.filter((m) => /^(0|40)/.test(m)), [], "no greeting");
  next.ws.close(1000);
  await until("forgotten", async () => !(await stored(b, session)));
  assert.deepEqual(b.events.map(({ event }) => event), ["connection", "reattach", "disconnect"]);
});

test("a session that isn't known is refused", async (t) => {
  const [a, , redis] = await two(t, { redisTimeout: 300 });
  assert.equal((await takeOver(t, a, "unknown")).status, 404);
  const { session, peer } = await open(t, a);
  peer.send("41"); // leaves its namespace
  peer.ws.close(1000);
  await until("forgotten", async () => !(await stored(a, session)));
  assert.equal((await takeOver(t, a, session)).status, 404);
  redis.process.kill("SIGSTOP");
  assert.equal((await takeOver(t, a, session)).status, 503, "Redis doesn't answer");
  redis.process.kill("SIGCONT");
  assert.match(a.warnings.join(), /no answer within 300 ms/);
});

test("a message with binary parts is completed on the new server", async (t) => {
  const [a, b] = await two(t, {
    setup: (io) => io.on("connection", (socket) => socket.on("parts", (one, two, answer) => answer(two, one))),
  });
  const { session, peer } = await open(t, a);
  peer.send('452-7["parts",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from("one"));
  await peer.ping("arrived");
  const next = await move(t, peer, b, session);
  next.send(Buffer.from("two"));
  await next.find("462-7");
  await next.find(Buffer.from("two"));
  await next.find(Buffer.from("one"));
});

test("acks follow the session, in both directions", async (t) => {
  const answers = [];
  const got = [];
  const [a, b] = await two(t, {
    finish: 0,
    setup: (io) => io.on("connection", (socket) => socket.on("slow", (answer) => answers.push({ socket, answer }))),
  });
  const { session, peer } = await open(t, a);
  peer.send('421["slow"]');
  await until("asked", () => answers.length === 1);
  answers[0].socket.emit("question", (value) => got.push(value));
  const question = await peer.find("42");
  const id = /^42(\d+)\[/.exec(question)[1];
  const next = await move(t, peer, b, session);
  await next.find("2");
  answers[0].answer("late");
  await next.find('431["late"]');
  answers[0].socket.emit("also late", Buffer.from("x"));
  await next.find('451-["also late"');
  await next.find(Buffer.from("x"));
  next.send(`43${id}["reply"]`);
  await until("answered", () => got.length === 1);
  assert.deepEqual(got, ["reply"]);
  assert.ok(Number(id) < 2 ** 31, `${id}: some clients keep ack IDs in 31 bits`);
  // And back to the first server, which still has the old socket.
  answers[0].answer = null;
  next.send('422["slow"]');
  await until("asked again", () => answers.length === 2);
  const last = await move(t, next, a, session, 2);
  await last.find("2");
  answers[1].answer("later");
  await last.find('432["later"]');
});

test("handlers have time to finish", async (t) => {
  const [a, b] = await two(t, {
    finish: 20_000,
    setup: (io) => io.on("connection", (socket) => socket.on("work", async (answer) => {
      await sleep(300);
      socket.data.done = true;
      answer("done");
    })),
  });
  const { session, peer } = await open(t, a);
  peer.send('421["work"]');
  const next = await move(t, peer, b, session);
  assert.ok(peer.got.includes('431["done"]'));
  await next.find("2");
  assert.equal(b.events[0].socket.data.done, true);
});

test("what happens to rooms during a move isn't lost", async (t) => {
  const [a, b] = await two(t, { finish: 0 });
  const { session, peer } = await open(t, a);
  const old = a.events[0].socket;
  const next = await takeOver(t, b, session);
  peer.ws.ping("holdfast leave");
  await peer.ended;
  b.io.in(old.id).socketsJoin("late");
  await until("published", async () => (await a.client.xLen("socket.io")) >= 3);
  a.io.to("late").emit("news", 1);
  a.io.emit("news", 2);
  b.io.emit("news", 3);
  a.io.except("late").emit("news", 4);
  old.join("later");
  await until("published", async () => (await a.client.xLen("socket.io")) >= 8);
  await next.ping("holdfast begin");
  await until("all news", () => next.got.filter((m) => m.startsWith('42["news"')).length >= 3);
  b.io.to("later").emit("end");
  await next.find('42["end"]');
  assert.deepEqual(next.got.filter((m) => m.startsWith("42[")).sort(), ['42["end"]', '42["news",1]', '42["news",2]', '42["news",3]']);
});

test("a namespace that is being connected is connected on the new server", async (t) => {
  const [a, b] = await two(t, {
    finish: 0,
    setup: (io) => io.of("/slow").use((socket, next) => setTimeout(next, socket.handshake.auth.wait)),
  });
  const { session, peer } = await open(t, a);
  peer.send('40/slow,{"wait":700}');
  await peer.ping("arrived");
  const next = await move(t, peer, b, session);
  await next.find("40/slow,");
  assert.deepEqual(peer.got.filter((m) => String(m).startsWith("40/slow")), []);
});

test("a middleware of the new server can refuse", async (t) => {
  const [a, b] = await two(t, {
    setup: (io) => io.use((socket, next) => next(socket.reattached ? new Error("no") : undefined)),
  });
  const { session, peer } = await open(t, a);
  const next = await move(t, peer, b, session);
  await next.find("41");
  assert.deepEqual(b.events, []);
});

test("a session that the server ends isn't moved", async (t) => {
  const [a, b] = await two(t, {});
  const { session, peer } = await open(t, a);
  const next = await takeOver(t, b, session);
  a.events[0].socket.disconnect(true);
  assert.equal(await peer.ended, 1000, "a code that the balancer passes on");
  await until("forgotten", async () => !(await stored(a, session)));
  await next.ping("holdfast begin");
  assert.equal(await next.ended, 4404);
  assert.deepEqual(b.events, []);
});

test("a lost connection may come back to the same server", async (t) => {
  const [a] = await two(t, { setup: (io) => io.on("connection", (socket) => (socket.data.n ??= 7)) });
  const { session, peer } = await open(t, a);
  peer.ws.terminate();
  await until("disconnected", () => a.events.some(({ reason }) => reason === "transport close"));
  const next = await takeOver(t, a, session, { reason: "loss" });
  assert.equal(next.status, 101);
  await next.ping("holdfast begin");
  await next.find("2");
  const { socket, reason } = a.events.find(({ event }) => event === "reattach");
  assert.equal(reason, "loss");
  assert.deepEqual(socket.data, { n: 7 });
});

test("a session can leave as soon as it has come", async (t) => {
  const [a, b] = await two(t, { restore: () => sleep(100) });
  const { session, peer } = await open(t, a);
  const next = await move(t, peer, b, session);
  const last = await takeOver(t, a, session, { move: 2 });
  next.ws.ping("holdfast leave");
  assert.equal(await next.ended, 1012);
  await last.ping("holdfast begin");
  await last.find("2");
});

test("another server can take a session that couldn't be restored", async (t) => {
  let broken = true;
  const [a, b, redis] = await two(t, {
    restore: () => {
      if (broken) throw new Error("not now");
    },
  });
  const { session, peer } = await open(t, a);
  const next = await takeOver(t, b, session);
  peer.ws.ping("holdfast leave");
  await peer.ended;
  a.io.emit("news", 1);
  await next.ping("holdfast begin");
  assert.equal(await next.ended, 1011, "the balancer looks for another server");
  assert.match(b.warnings.join(), /not now/);
  assert.equal(b.io.of("/")._preConnectSockets.size, 0);
  await sleep(150); // a has saved later positions by now
  broken = false;
  const c = await startServer(redis, {});
  const last = await takeOver(t, c, session, { move: 2 });
  await last.ping("holdfast begin");
  await last.find('42["news",1]');
});

test("the rest of a message is dropped after a loss", async (t) => {
  const [a, b] = await two(t, {
    setup: (io) => io.on("connection", (socket) => socket.on("whole", (part, answer) => answer(part))),
  });
  const { session, peer } = await open(t, a);
  peer.send('451-7["whole",{"_placeholder":true,"num":0}]');
  await peer.ping("arrived");
  peer.ws.terminate();
  await until("disconnected", () => a.events.some(({ event }) => event === "disconnect"));
  await until("saved", async () => (await a.client.hGet(`holdfast:sio:session:${session}`, "f")) === "0");
  const next = await takeOver(t, b, session, { reason: "loss" });
  await next.ping("holdfast begin");
  next.send(Buffer.from("rest"), '451-8["whole",{"_placeholder":true,"num":0}]', Buffer.from("part"));
  await next.find("461-8");
  assert.equal(next.ws.readyState, 1);
});

test("a client that leaves in the middle of a move is disconnected", async (t) => {
  const [a, b] = await two(t, { restore: () => sleep(200) });
  const { session, peer } = await open(t, a);
  const next = await takeOver(t, b, session);
  peer.ws.ping("holdfast leave");
  await peer.ended;
  await next.ping("holdfast begin");
  next.ws.terminate();
  await until("disconnected", () => b.events.some(({ event }) => event === "disconnect"));
  assert.deepEqual(b.events.map(({ event }) => event), ["connection", "reattach", "disconnect"]);
});

test("without Redis a session ends instead of being left in doubt", async (t) => {
  const [a, , redis] = await two(t, { redisTimeout: 300 });
  const { peer } = await open(t, a);
  redis.process.kill("SIGSTOP");
  peer.ws.ping("holdfast leave");
  assert.equal(await peer.ended, 4500);
  redis.process.kill("SIGCONT");
  assert.match(a.warnings.join(), /wasn't stored/);
});

test("fields of requests that don't come from the balancer are ignored", async (t) => {
  const [a, b] = await two(t, { trust: ["10.0.0.0/8"] });
  const peer = new Peer(a, "forged");
  t.after(() => peer.ws.terminate());
  assert.equal((await peer.answer).headers["holdfast-control"], undefined);
  await peer.find("0{");
  const next = await takeOver(t, b, "forged");
  assert.equal(next.status, 101, "it is a new session");
  await next.find("0{");
  peer.ws.ping("holdfast leave");
  await peer.ping("still there");
});

test("a session that still changes its transport stays", async (t) => {
  const [a, b] = await two(t, {});
  const base = `http://127.0.0.1:${a.port}/socket.io/?EIO=4&transport=polling`;
  const { sid } = JSON.parse((await (await fetch(base)).text()).slice(1));
  const probing = new Peer(a, "probing", {}, `&sid=${sid}`);
  t.after(() => probing.ws.terminate());
  await probing.answer;
  probing.send("2probe");
  await probing.find("3probe");
  assert.equal((await takeOver(t, b, "probing")).status, 404);
  probing.send("5");
  await until("stored", () => stored(a, "probing"));
  const next = await move(t, probing, b, "probing");
  await next.find("2");
});
