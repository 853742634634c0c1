// In Chromium.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { startRoom } from "./room.js";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

test("a page", { timeout: 180_000 }, async () => {
  const room = await startRoom();
  const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(60_000);
    await page.goto(room.page);
    await page.evaluate(async () => {
      const { Client } = await import("/client.js");
      window.states = [];
      window.got = [];
      // A delay that only the event "online" ends.
      window.client = new Client({ url: "/ws", idleTimeout: 2000, ping: () => "{}", backoff: { first: 1e9 }, random: () => window.delay ?? 0 });
      window.client.on("state", (s) => window.states.push(s));
      window.client.on("message", (m) => window.got.push(m.text));
      window.client.send({ text: "before there is a connection" });
    });
    const state = (name) => page.waitForFunction((n) => window.client.state.name === n, name);
    const has = (n) => page.waitForFunction((want) => window.got.length >= want, n);
    await has(1);

    // A crash of the server.
    room.cut();
    await page.evaluate(() => window.client.send({ text: "after the crash" }));
    await has(2);

    // A network that is gone, and comes back.
    await page.evaluate(() => { window.delay = 0.5; });
    room.mute();
    await state("waiting");
    assert.equal(await page.evaluate(() => window.client.state.reason), "nothing received");
    await page.evaluate(() => {
      window.client.send({ text: "without a network" });
      dispatchEvent(new Event("online"));
    });
    await has(3);

    await page.evaluate(() => window.client.close());
    assert.deepEqual(await page.evaluate(() => window.got), ["before there is a connection", "after the crash", "without a network"]);
    assert.equal(room.history.length, 3);
  } finally {
    await browser.close();
    await room.stop();
  }
});
