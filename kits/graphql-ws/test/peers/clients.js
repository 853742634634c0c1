"use strict";
// Clients of the end-to-end tests: node clients.js URL N EVERY PATIENCE REDIS_URL, in ms
//
// They publish numbered events, and subscribe to them. It prints "settled" when all have
// got some. At the end of its input they publish no more, and when all has come, or
// after PATIENCE, it prints the counts.

const { createClient } = require("graphql-ws");
const { WebSocket } = require("ws");

const [, , url, n, every, patience, redisURL] = process.argv;
const print = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const counts = {
  connected: 0, closed: 0, errors: 0, published: 0, events: 0, lost: 0, doubled: 0,
  asked: 0, answered: 0, failed: 0, begun: 0, completed: 0, values: 0, wrong: 0,
};
let stopping = false;
let settled = 0;
const lasts = [];

function use(client) {
  const me = createClient({
    url: `${url}/graphql`,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    connectionParams: { token: "secret" },
    onNonLazyError: (error) => print({ event: "error", client, error: String(error?.reason || error) }),
    on: {
      connected: () => counts.connected++,
      closed: ({ code, reason }) => {
        if (stopping === "done") return;
        counts.closed++;
        print({ event: "closed", client, code, reason });
      },
    },
  });
  const failed = (error) => {
    counts.errors++;
    print({ event: "error", client, error: JSON.stringify(error), reason: error?.reason });
  };

  me.subscribe({ query: "subscription { events }" }, {
    next: ({ data: { events } }) => {
      counts.events++;
      const before = lasts[client];
      lasts[client] = Math.max(before ?? 0, events);
      if (before === undefined || events === before + 1) return;
      if (events > before) counts.lost += events - before - 1;
      else counts.doubled++;
      print({ event: "sequence", client, before, events });
    },
    error: failed,
    complete: () => print({ event: "error", client, error: "events were completed" }),
  });

  // Short subscriptions, one after the other.
  const again = () => {
    if (stopping) return;
    counts.begun++;
    let value = 0;
    let completed = false;
    me.subscribe({ query: "subscription { three }" }, {
      next: ({ data: { three } }) => {
        counts.values++;
        if (three !== value + 1) {
          counts.wrong++;
          print({ event: "sequence", client, before: value, three });
        }
        value = three;
      },
      error: failed,
      complete: () => {
        if (completed) print({ event: "error", client, error: "completed twice" });
        completed = true;
        counts.completed++;
        if (counts.completed >= n && ++settled === 1) print({ event: "settled" });
        setTimeout(again, Number(every));
      },
    });
  };
  again();

  let number = 0;
  const asking = setInterval(() => {
    if (stopping) return clearInterval(asking);
    const sent = ++number;
    counts.asked++;
    me.subscribe({ query: "mutation ($n: Int!) { count(n: $n) }", variables: { n: sent } }, {
      next: ({ data, errors }) => {
        if (errors) counts.failed++;
        else if (data.count === sent) counts.answered++;
        else print({ event: "error", client, error: `${data.count} instead of ${sent}` });
      },
      error: failed,
      complete: () => {},
    });
  }, Number(every));
}

async function main() {
  const redis = require("redis").createClient({ url: redisURL });
  redis.on("error", () => {});
  await redis.connect();
  for (let client = 0; client < n; client++) use(client);
  process.stdin.resume();
  process.stdin.on("end", () => (stopping = true));
  while (!stopping) {
    await redis.xAdd("events", "*", { n: String(++counts.published) });
    await sleep(every / 5);
  }
  const all = () => counts.answered + counts.failed >= counts.asked && counts.completed >= counts.begun && lasts.every((last) => last === counts.published);
  for (const end = Date.now() + Number(patience); !all() && Date.now() < end; ) await sleep(20);
  for (const last of lasts) counts.lost += counts.published - last;
  stopping = "done";
  print({ event: "counts", ...counts });
  process.exit(0);
}

main();
