"use strict";
// node demo.js URL CHROMIUM DIRECTORY uses the demo's page as people would, in
// two tabs, and breaks what serves it. It prints what happened as one line of
// JSON and leaves screenshots in the directory. What is right is for the Go
// test to say, but for the waits: each gives up after half a minute.

const path = require("path");
const { chromium } = require("playwright-core");

const [url, executablePath, directory] = process.argv.slice(2);

const byTestId = (page, id) => page.locator(`[data-testid="${id}"]`);

// Tab is one page, and what can be seen on it.
class Tab {
  constructor(page) {
    this.page = page;
  }

  static async open(browser, name) {
    const context = await browser.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(30000);
    const tab = new Tab(page);
    tab.complaints = [];
    // The browser itself reports failed connections as console errors.
    page.on("pageerror", (error) => tab.complaints.push(String(error)));
    await page.goto(url);
    await byTestId(page, "name-input").fill(name);
    await tab.connected();
    return tab;
  }

  // connected waits for a connection; to another process than before's, if
  // before is given. It returns name and pid of the server.
  async connected(before) {
    await this.page.waitForFunction((pid) => {
      const find = (id) => document.querySelector(`[data-testid="${id}"]`);
      const shown = find("backend").textContent.match(/^(\S+) · pid (\d+)$/);
      return find("status").dataset.state === "connected" && shown && Number(shown[2]) !== pid;
    }, before?.pid ?? 0);
    const text = await byTestId(this.page, "backend").textContent();
    const [, name, pid] = text.match(/^(\S+) · pid (\d+)$/);
    return { name, pid: Number(pid) };
  }

  async say(text) {
    await byTestId(this.page, "message-input").fill(text);
    await byTestId(this.page, "send").click();
  }

  // texts waits until there are n messages and nothing is pending.
  async texts(n) {
    await this.page.waitForFunction((want) => {
      const all = document.querySelectorAll('[data-testid="messages"] [data-testid="message"]');
      const pending = document.querySelectorAll('[data-testid="pending"] [data-testid="message"]');
      return all.length >= want && pending.length === 0;
    }, n);
    return byTestId(this.page, "messages").locator(".body").allTextContents();
  }

  async ids() {
    return byTestId(this.page, "messages").locator('[data-testid="message"]')
      .evaluateAll((items) => items.map((item) => Number(item.dataset.id)));
  }

  // closes are the codes of the connections that ended.
  async closes() {
    const all = await byTestId(this.page, "events").locator("li span").allTextContents();
    return all.flatMap((text) => text.match(/^connection closed (\d+)/)?.[1] ?? []).map(Number).reverse();
  }

  screenshot(name) {
    return this.page.screenshot({ path: path.join(directory, `${name}.png`) });
  }
}

async function main() {
  const browser = await chromium.launch({
    executablePath,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const [ann, bob] = [await Tab.open(browser, "Ann"), await Tab.open(browser, "Bob")];
    const servers = { ann: [await ann.connected()], bob: [await bob.connected()] };

    await ann.say("hello Bob");
    await bob.texts(1);
    await bob.say("hello Ann");
    await ann.texts(2);
    await ann.screenshot("chat");

    // Ann crashes her server with the page's button, and goes on typing.
    await byTestId(ann.page, "crash").click();
    for (const n of [1, 2, 3]) await ann.say(`while it is down ${n}`);
    servers.ann.push(await ann.connected(servers.ann[0]));
    await ann.texts(5);
    await bob.texts(5);

    // Bob's server is killed by hand; both talk meanwhile.
    servers.bob[0] = await bob.connected();
    const closesBefore = (await bob.closes()).length;
    process.kill(servers.bob[0].pid, "SIGKILL");
    await bob.page.waitForFunction((n) => [...document.querySelectorAll('[data-testid="events"] li span')]
      .filter((item) => item.textContent.startsWith("connection closed")).length > n, closesBefore);
    await bob.say("mine is gone");
    await ann.say("I see");
    servers.bob.push(await bob.connected(servers.bob[0]));
    await bob.texts(7);
    await ann.texts(7);
    await bob.screenshot("after-kill");

    // Bob closes his connection with the page's button.
    await ann.connected();
    const before = (await bob.closes()).length;
    await byTestId(bob.page, "close").click();
    await bob.page.waitForFunction((n) => [...document.querySelectorAll('[data-testid="events"] li span')]
      .filter((item) => item.textContent.startsWith("connection closed")).length > n, before);
    await bob.connected();
    await ann.connected();
    await bob.say("back again");

    const result = {
      servers,
      ann: { texts: await ann.texts(8), ids: await ann.ids(), closes: await ann.closes(), complaints: ann.complaints },
      bob: { texts: await bob.texts(8), ids: await bob.ids(), closes: await bob.closes(), complaints: bob.complaints },
    };
    process.stdout.write(JSON.stringify(result) + "\n");

    // The pages are still there when the demo is ended.
    await new Promise((done) => process.stdin.on("end", done).resume());
    const last = async (tab) => {
      await tab.page.waitForFunction(() => document.querySelector('[data-testid="status"]').dataset.state !== "connected");
      return (await tab.closes()).at(-1);
    };
    process.stdout.write(JSON.stringify({ ann: await last(ann), bob: await last(bob) }) + "\n");
  } finally {
    await browser.close();
  }
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
