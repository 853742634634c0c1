import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { isFinal } from "../dist/index.js";
import { FakeSocket, advance, settle, start, stop } from "./fake.js";

afterEach(stop);

test("the delays are jittered and grow", async () => {
  const { states } = await start({ backoff: { first: 100, base: 1000, max: 5000 } });
  for (let i = 0; i < 6; i++) {
    FakeSocket.last.end(1006);
    await advance(states().at(-1).delay);
  }
  const delays = states().filter((s) => s.name === "waiting").map((s) => s.delay);
  assert.deepEqual(delays, [50, 500, 1000, 2000, 2500, 2500]);
  assert.equal(FakeSocket.all.length, 7);
});

test("clients that lose their connection together come back spread out", async () => {
  const delays = [];
  for (const random of [0, 0.25, 0.999]) {
    const { client, states } = await start({ random: () => random });
    FakeSocket.last.open();
    FakeSocket.last.end(1012);
    delays.push(states().at(-1).delay);
    client.close();
    stop();
  }
  assert.deepEqual(delays, [0, 250, 999]);
});

test("a connection must last before the delays begin anew", async () => {
  const { states } = await start();
  const delay = async (lasting) => {
    FakeSocket.last.open();
    await advance(lasting);
    FakeSocket.last.end(1001);
    const { delay } = states().at(-1);
    await advance(delay);
    return delay;
  };
  assert.equal(await delay(10), 500);
  assert.equal(await delay(10), 500);
  assert.equal(await delay(4999), 1000);
  assert.equal(await delay(5000), 500);
});

test("an overloaded server gets more time, and says how much", async () => {
  const { states } = await start();
  const delay = async (code, reason) => {
    FakeSocket.last.end(code, reason);
    const { delay } = states().at(-1);
    await advance(delay);
    return delay;
  };
  assert.equal(await delay(1013, "too slow"), 1000); // 500 to 1500
  assert.equal(await delay(1013, "retry-after=20"), 25_000); // 20 to 30 s
  assert.equal(await delay(1012, "restarts, retry after 1.5"), 1875);
});

test("final closes", async () => {
  for (const code of [1000, 1008, 4000, 4403]) assert.ok(isFinal(code), `${code}`);
  for (const code of [1001, 1005, 1006, 1009, 1011, 1012, 1013, 3000]) assert.ok(!isFinal(code), `${code}`);

  const { client, states } = await start({ final: (code, reason) => reason === "go away" });
  FakeSocket.last.open();
  FakeSocket.last.end(4001);
  assert.equal(client.state.name, "waiting");
  await advance(1000);
  FakeSocket.last.end(1001, "go away");
  assert.deepEqual(states().at(-1), { name: "closed", code: 1001, reason: "go away" });
  await advance(1e6);
  assert.equal(FakeSocket.all.length, 2);
  assert.throws(() => client.send({}), /closed/);

  client.reopen();
  await settle();
  assert.equal(FakeSocket.all.length, 3);
});

test("close", async () => {
  const { client, states } = await start();
  FakeSocket.last.open();
  client.close(4000, "bye");
  assert.deepEqual(FakeSocket.last.closedWith, [4000, "bye"]);
  assert.deepEqual(states().at(-1), { name: "closed", code: 4000, reason: "bye" });
  FakeSocket.last.end(1006); // ignored
  client.close();
  await advance(1e6);
  assert.equal(states().filter((s) => s.name === "closed").length, 1);
  assert.equal(FakeSocket.all.length, 1);

  // While it waits, and with a code that clients can't send.
  stop();
  const other = await start();
  FakeSocket.last.end(1006);
  other.client.close(1001);
  await advance(1e6);
  assert.equal(FakeSocket.all.length, 1);
  assert.equal(other.client.state.name, "closed");
});

test("close before there is a socket", async () => {
  const { client } = await start();
  FakeSocket.last.end(1006);
  await advance(499);
  client.reopen(); // does nothing
  assert.equal(FakeSocket.all.length, 1);
  await advance(1);
  assert.equal(FakeSocket.all.length, 2);
  FakeSocket.last.end(1006);
  client.close();
  client.reopen();
  client.close(); // at once, before the URL is known
  await settle();
  assert.equal(FakeSocket.all.length, 2);
});

test("an attempt that takes too long is given up", async () => {
  const { states } = await start({ codec: { greets: true, encode: String, decode: () => ({ ready: true }) } });
  FakeSocket.last.open();
  await advance(9999);
  assert.equal(states().at(-1).name, "connecting"); // the server hasn't greeted
  await advance(1);
  assert.deepEqual(states().at(-1), { name: "waiting", delay: 500, code: 1006, reason: "timeout" });
  const abandoned = FakeSocket.last;
  assert.equal(abandoned.readyState, 2);
  await advance(500);
  abandoned.receive("late"); // ignored
  FakeSocket.last.open();
  assert.equal(states().at(-1).name, "connecting");
  FakeSocket.last.receive("hello");
  assert.equal(states().at(-1).name, "open");
  await advance(1e6);
  assert.equal(states().at(-1).name, "open");
});

test("a dead connection is noticed", async () => {
  const { states } = await start({ idleTimeout: 1000 });
  FakeSocket.last.open();
  await advance(900);
  FakeSocket.last.receive({});
  await advance(999);
  assert.equal(states().at(-1).name, "open");
  await advance(1);
  assert.deepEqual(states().at(-1), { name: "waiting", delay: 500, code: 1006, reason: "nothing received" });
});

test("a ping keeps a quiet connection", async () => {
  const { states } = await start({ idleTimeout: 1000, ping: () => "ping" });
  FakeSocket.last.open();
  for (let i = 1; i <= 3; i++) {
    await advance(500);
    assert.equal(FakeSocket.last.sent.length, i);
    FakeSocket.last.receive({});
  }
  await advance(500); // the server doesn't answer this one
  await advance(499);
  assert.equal(states().at(-1).name, "open");
  await advance(1);
  assert.equal(states().at(-1).reason, "nothing received");
  assert.deepEqual(FakeSocket.last.sent, ["ping", "ping", "ping", "ping"]);
});

test("the network is back", async () => {
  const listeners = new Set();
  globalThis.addEventListener = (name, f) => { assert.equal(name, "online"); listeners.add(f); };
  globalThis.removeEventListener = (name, f) => listeners.delete(f);
  try {
    const { client } = await start({ backoff: { first: 1e6 } });
    const online = async () => { for (const f of listeners) f(); await settle(); };
    FakeSocket.last.open();
    await online();
    assert.equal(FakeSocket.all.length, 1);
    FakeSocket.last.end(1006);
    await online();
    await online();
    assert.equal(FakeSocket.all.length, 2);
    client.close();
    assert.equal(listeners.size, 0);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test("URLs", async () => {
  const { client } = await start({ url: "https://x.example/ws?a=1#f", since: "5-1", protocols: ["p"] });
  assert.equal(FakeSocket.last.url, "wss://x.example/ws?a=1&since=5-1");
  assert.deepEqual(FakeSocket.last.protocols, ["p"]);
  client.close();
  stop();

  const asked = [];
  const { events } = await start({
    url: async (since) => {
      asked.push(since);
      if (asked.length === 2) throw new Error("no token");
      return `ws://x/${asked.length}`;
    },
  });
  assert.equal(FakeSocket.last.url, "ws://x/1");
  FakeSocket.last.open();
  FakeSocket.last.receive({ id: "7" });
  FakeSocket.last.end(1006);
  await advance(500);
  assert.equal(events.findLast(([name]) => name === "error")[1].message, "no token");
  assert.equal(events.at(-1)[1].name, "waiting");
  await advance(500);
  assert.equal(FakeSocket.last.url, "ws://x/3");
  assert.deepEqual(asked, ["", "7", "7"]);
});
