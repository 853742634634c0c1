"use strict";
// node secure.js TASK opens the page at an https URL, and a WebSocket from it, several times. TASK is JSON:
// the url, chromium, and the SHA-256 hashes of the public keys that the browser accepts. It
// prints how far it is and waits for a line of standard input each time, in which the
// balancer gets another certificate; in the end it prints what the page saw as one line of
// JSON.

const readline = require("readline");
const { run, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const reached = async (stage) => {
  process.stdout.write(`${stage}\n`);
  await lines.next();
};

// Page is a page of its own context, which shares no connections and no TLS sessions with
// others.
class Page {
  static async come(browser) {
    const p = new Page();
    p.page = await (await browser.newContext()).newPage();
    await p.page.goto(task.url);
    await p.page.evaluate(() => {
      const ws = new WebSocket(location.origin.replace("https:", "wss:") + "/echo");
      const ended = (fail) => (e) => fail(new Error(`closed with ${e.code}`));
      window.opened = new Promise((done, fail) => Object.assign(ws, { onopen: done, onclose: ended(fail) }));
      window.say = (text) => new Promise((done, fail) => {
        Object.assign(ws, { onmessage: (m) => done(m.data), onclose: ended(fail) });
        ws.send(text);
      });
      window.end = () => new Promise((done) => {
        ws.onclose = (e) => done(e.code);
        ws.close(1000);
      });
    });
    await p.page.evaluate(() => window.opened.then(() => null));
    return p;
  }

  protocol() {
    return this.page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  }

  say(text) {
    return this.page.evaluate((t) => window.say(t), text);
  }

  end() {
    return this.page.evaluate(() => window.end());
  }
}

run(() => withBrowser(task.chromium, async (browser) => {
  const large = "ü".repeat(100000);
  const first = await Page.come(browser);
  const out = { protocol: await first.protocol(), before: await first.say("hello"), large: (await first.say(large)) === large };
  await reached("talking");
  out.after = await first.say("after the swap");
  const second = await Page.come(browser);
  out.second = await second.say("with another certificate");
  await reached("swapped");
  out.still = await first.say("still here");
  out.refused = await Page.come(browser).then(() => "nothing", (e) => e.message.match(/ERR_[A-Z_]+/)?.[0] ?? e.message);
  out.ends = [await first.end(), await second.end()];
  process.stdout.write(JSON.stringify(out) + "\n");
}, [`--ignore-certificate-errors-spki-list=${task.keys.join(",")}`]));
