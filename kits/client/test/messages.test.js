import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { FakeSocket, advance, start, stop } from "./fake.js";

afterEach(stop);

const sent = () => FakeSocket.last.sent.map((frame) => JSON.parse(frame));
const messages = (events) => events.filter(([name]) => name === "message").map(([, m]) => m.text);

test("it continues after the last message, and drops what it has", async () => {
  const { client, events } = await start();
  FakeSocket.last.open();
  for (const n of [1, 2, 2, 3]) FakeSocket.last.receive({ id: `${n}-0`, text: n });
  FakeSocket.last.receive({ text: "a notice" });
  assert.equal(client.since, "3-0");
  FakeSocket.last.end(1006);
  await advance(500);
  assert.equal(FakeSocket.last.url, "ws://x/ws?since=3-0");
  FakeSocket.last.open();
  for (const n of [2, 3, 4]) FakeSocket.last.receive({ id: `${n}-0`, text: n });
  assert.deepEqual(messages(events), [1, 2, 3, "a notice", 4]);
});

test("only some IDs are remembered", async () => {
  const { events } = await start();
  FakeSocket.last.open();
  for (let n = 0; n < 2001; n++) FakeSocket.last.receive({ id: `${n}`, text: n });
  FakeSocket.last.receive({ id: "1", text: "again" });
  assert.equal(messages(events).length, 2001);
  FakeSocket.last.receive({ id: "0", text: "forgotten" });
  assert.equal(messages(events).length, 2002);
});

test("what isn't acknowledged is sent again", async () => {
  const { client, events } = await start();
  client.send({ text: "before there is a connection" }, "a");
  FakeSocket.last.open();
  client.send({ text: "b" }, "b");
  const key = client.send({ text: "c" });
  assert.match(key, /^[0-9a-f]{32}$/);
  assert.deepEqual(sent().map((m) => m.key), ["a", "b", key]);
  FakeSocket.last.receive({ id: "1", key: "b" });
  FakeSocket.last.receive({ id: "2", key: "of another" });
  FakeSocket.last.end(1006);
  await advance(500);
  FakeSocket.last.open();
  assert.deepEqual(sent(), [{ text: "before there is a connection", key: "a" }, { text: "c", key }]);
  FakeSocket.last.receive({ key: "a" });
  FakeSocket.last.receive({ id: "3", key });
  assert.deepEqual(events.filter(([name]) => name === "acknowledged"), [["acknowledged", "b"], ["acknowledged", "a"], ["acknowledged", key]]);
  assert.equal(client.unacknowledged.size, 0);
});

test("the queue has a limit", async () => {
  const { client } = await start({ queue: 2 });
  client.send({}, "a");
  client.send({}, "b");
  assert.throws(() => client.send({}, "c"), RangeError);
  FakeSocket.last.open();
  FakeSocket.last.receive({ key: "a" });
  client.send({}, "c");
  assert.deepEqual([...client.unacknowledged.keys()], ["b", "c"]);
});

test("refused messages", async () => {
  const { client, events } = await start();
  FakeSocket.last.open();
  client.send({}, "a");
  client.send({}, "b");
  FakeSocket.last.receive({ type: "refused", key: "a", reason: "too long" });
  FakeSocket.last.receive({ type: "refused", key: "b", reason: "later", retry: true });
  FakeSocket.last.receive({ type: "refused", key: "of another", reason: "?" });
  assert.deepEqual(events.filter(([name]) => name === "refused"), [["refused", "a", "too long", false], ["refused", "b", "later", true]]);
  await advance(1999);
  assert.equal(sent().length, 2);
  await advance(1);
  assert.deepEqual(sent().map((m) => m.key), ["a", "b", "b"]);
});

test("notify isn't repeated", async () => {
  const { client } = await start();
  assert.equal(client.notify({ type: "typing" }), false);
  FakeSocket.last.open();
  assert.equal(client.notify({ type: "typing" }), true);
  assert.deepEqual(sent(), [{ type: "typing" }]);
});

test("reset", async () => {
  const { client, events } = await start();
  FakeSocket.last.open();
  FakeSocket.last.receive({ id: "1", text: 1 });
  client.send({}, "a");
  assert.deepEqual([...client.reset()], [["a", {}]]);
  assert.equal(client.since, "");
  FakeSocket.last.receive({ id: "1", text: "1 again" });
  assert.deepEqual(messages(events), [1, "1 again"]);
  assert.equal(client.unacknowledged.size, 0);
});

test("a server that greets", async () => {
  const { client, events } = await start({
    codec: {
      greets: true,
      encode: (message, key) => JSON.stringify({ ...message, key }),
      decode(frame) {
        const message = JSON.parse(frame);
        return { message, ready: message.type === "hello" };
      },
    },
  });
  client.on("message", (m) => { if (m.type === "hello") client.notify({ type: "join" }); });
  client.send({ n: 1 }, "a");
  FakeSocket.last.open();
  assert.deepEqual(sent(), []);
  FakeSocket.last.receive({ type: "hello" });
  assert.deepEqual(sent(), [{ type: "join" }, { n: 1, key: "a" }]);
  FakeSocket.last.receive({ type: "hello" }); // of another server, on the same connection
  assert.deepEqual(sent().slice(2), [{ type: "join" }, { n: 1, key: "a" }]);
  assert.equal(events.filter(([name, s]) => name === "state" && s.name === "open").length, 1);
});

test("a protocol without acknowledgements", async () => {
  const { client } = await start({
    codec: { acknowledges: false, encode: (m) => m, decode: (frame) => ({ message: frame }) },
  });
  client.send("a");
  client.send("b");
  FakeSocket.last.open();
  client.send("c");
  assert.deepEqual(FakeSocket.last.sent, ["a", "b", "c"]);
  assert.equal(client.unacknowledged.size, 0);
});

test("gaps, and frames that aren't of the protocol", async () => {
  const { client, events } = await start();
  FakeSocket.last.open();
  FakeSocket.last.receive({ type: "gap" });
  FakeSocket.last.receive("{");
  FakeSocket.last.receive({ text: "fine" });
  assert.deepEqual(events.map(([name]) => name), ["state", "state", "gap", "error", "message"]);
  assert.equal(client.state.name, "open");
});

test("listeners", async () => {
  const { client, events } = await start();
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const off = client.on("message", () => { throw new Error("of the application"); });
  FakeSocket.last.open();
  FakeSocket.last.receive({ text: 1 });
  assert.deepEqual(reported, ["of the application"]);
  off();
  FakeSocket.last.receive({ text: 2 });
  assert.deepEqual(messages(events), [1, 2]);
  delete globalThis.reportError;
});
