// Tests of the page's modules that need no page: node modules.mjs FOLDER.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

globalThis.sessionStorage = { getItem: () => null, setItem() {}, removeItem() {} };
const load = (name) => import(pathToFileURL(`${process.argv[2]}/${name}`));
const { parser } = await load("stream.js");
const { History, ALL, poolKey, backendKey, causes } = await load("history.js");
const format = await load("format.js");
const { niceStep } = await load("chart.js");
const api = await load("api.js");

test("a stream in pieces of any size", () => {
  const text = ": hello\n\nid: 1\nevent: x\ndata: {\"a\":1}\n\ndata: two\r\ndata:lines\r\n\r\nid: 5\n\ndata\n\ndata: last\n\ndata: not ended";
  for (let size = 1; size <= text.length; size++) {
    const got = [];
    const push = parser((data) => got.push(data));
    for (let i = 0; i < text.length; i += size) push(text.slice(i, i + size));
    assert.deepEqual(got, ['{"a":1}', "two\nlines", "last"], `pieces of ${size}`);
  }
});

const counts = (opened, failed, messages, closes = {}) =>
  ({ opened, failed, from_client: { messages, bytes: 0 }, from_backend: { messages: 2 * messages, bytes: 0 }, closes });
const status = (c, sessions = 3, backends = [{ name: "b", sessions, ...c }]) =>
  ({ totals: { active: sessions }, pools: [{ name: "p/q", sessions, ...c, backends }] });

test("rates from counts", () => {
  const h = new History();
  h.add(1000, status(counts(10, 1, 100, { client_closed: 4 })));
  h.add(3000, status(counts(20, 2, 300, { client_closed: 6, idle_timeout: 1 })));
  for (const key of [ALL, poolKey("p/q"), backendKey("p/q", "b")]) {
    assert.deepEqual(h.points(key), [
      { t: 1000, sessions: 3, opened: null, failed: null, fromClient: null, fromBackend: null, closes: null },
      { t: 3000, sessions: 3, opened: 5, failed: 0.5, fromClient: 100, fromBackend: 200, closes: { client_closed: 1, idle_timeout: 0.5 } },
    ]);
  }
  assert.deepEqual(causes(h.points(ALL)), ["client_closed", "idle_timeout"]);
  assert.deepEqual(h.points(ALL, 2000).map((p) => p.t), [3000]);
});

test("a gap after a pause, and after a restart", () => {
  const h = new History();
  h.add(1000, status(counts(10, 0, 0)));
  h.pause();
  h.add(90_000, status(counts(90, 0, 0)));
  h.add(91_000, status(counts(2, 0, 0)));
  h.add(92_000, status(counts(3, 0, 0)));
  assert.deepEqual(h.points(ALL).map((p) => p.opened), [null, null, null, 1]);
});

test("what is old is forgotten, and what is gone", () => {
  const h = new History();
  for (let t = 0; t <= 2_000_000; t += 10_000) h.add(t, status(counts(0, 0, 0)));
  assert.equal(h.points(ALL)[0].t, 1_100_000);
  assert.equal(h.span(2_000_000, [1, 5]), 5);
  h.add(2_010_000, status(counts(0, 0, 0), 3, []));
  assert.deepEqual(h.points(backendKey("p/q", "b")), []);
  const many = new History();
  const backends = Array.from({ length: 500 }, (_, i) => ({ name: `b${i}`, sessions: 0, ...counts(0, 0, 0) }));
  for (let t = 0; t <= 1_000_000; t += 10_000) many.add(t, status(counts(0, 0, 0), 0, backends));
  assert.ok(many.points(ALL).length < 30);
});

test("texts", () => {
  const { seconds, bytes, rate, latency, daysLeft, plural, count } = format;
  assert.deepEqual([0, 1.25, 9.96, 59.6, 61, 3600, 3725, 90_000, -61].map(seconds),
    ["0 s", "1.3 s", "10 s", "1 min", "1 min 1 s", "1 h", "1 h 2 min", "1 d 1 h", "−1 min 1 s"]);
  assert.deepEqual([0, 1023, 1024, 1536, 200 * 1024, 5 * 2 ** 30].map(bytes), ["0 B", "1,023 B", "1 KiB", "1.5 KiB", "200 KiB", "5 GiB"]);
  assert.deepEqual([0, 0.001, 0.123, 3.25, 1234.5, undefined, NaN].map(rate), ["0", "< 0.01", "0.12", "3.3", "1,235", "–", "–"]);
  assert.deepEqual([0.0004, 0.0123, 0.25, 1.5, undefined].map(latency), ["0.4 ms", "12.3 ms", "250 ms", "1.5 s", "–"]);
  assert.deepEqual([-1.5, 0.5, 1.9, 30.2].map(daysLeft), ["expired 2 days ago", "12 hours left", "46 hours left", "30 days left"]);
  assert.deepEqual([plural(1, "session"), plural(1200, "session"), count(null)], ["1 session", "1,200 sessions", "–"]);
});

test("steps of an axis", () => {
  assert.deepEqual([0, -1, NaN, 0.03, 1, 1.1, 3, 7, 4200].map(niceStep), [1, 1, 1, 0.05, 1, 2, 5, 10, 5000]);
});

test("paths and problems", async () => {
  assert.equal(api.path("pools", "a/b", "backends", "c d?", "drain"), "/v1/pools/a%2Fb/backends/c%20d%3F/drain");
  assert.equal(api.query({ search: "a&b", pool: "", after: undefined, limit: 5 }), "?search=a%26b&limit=5");
  const answers = [
    new Response(JSON.stringify({ status: 422, detail: "weight is too large", field: "weight" }), { status: 422 }),
    new Response("<html>gateway</html>", { status: 502 }),
    new Response("", { status: 500 }),
    new Response("not JSON", { status: 200 }),
  ];
  globalThis.fetch = async () => answers.shift();
  const problem = async () => { try { await api.get("/v1/status"); } catch (e) { return [e.status, e.message, e.field]; } };
  assert.deepEqual(await problem(), [422, "weight is too large", "weight"]);
  assert.deepEqual(await problem(), [502, "<html>gateway</html>", ""]);
  assert.deepEqual(await problem(), [500, "The balancer answers with status 500.", ""]);
  assert.match((await problem())[1], /isn't JSON/);
  globalThis.fetch = async () => { throw new TypeError("failed"); };
  assert.deepEqual(await problem(), [0, "The balancer can't be reached.", ""]);
});

test("one question for a token, whatever needs it", async () => {
  const asked = [];
  api.onRefused(async (why) => { asked.push(why); return asked.length === 1 ? "wrong" : "right"; });
  globalThis.fetch = async (_, { headers }) => headers.Authorization === "Bearer right"
    ? new Response("1") : new Response(JSON.stringify({ detail: "wrong token" }), { status: 401 });
  assert.deepEqual(await Promise.all([api.get("/v1/status"), api.get("/v1/routes"), api.get("/v1/log")]), [1, 1, 1]);
  assert.deepEqual(asked, ["", "wrong token"]);
  api.setToken("");
});
