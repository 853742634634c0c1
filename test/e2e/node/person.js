"use strict";
// A person who uses the page of examples/chat in Chromium, and what they see.

const path = require("path");
const { chromium } = require("playwright-core");

const PAUSE = 150; // ms between two messages of a person who talks
const LEAST = 8; // messages of a talk, so that some come after the end of a server

const byTestId = (page, id) => page.locator(`[data-testid="${id}"]`);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// withBrowser calls f with a browser, which gets more args, and closes it when that is
// over.
async function withBrowser(executablePath, f, more = []) {
  const browser = await chromium.launch({
    executablePath,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more],
  });
  try {
    await f(browser);
  } finally {
    await browser.close();
  }
}

// Person is one with a page of their own.
class Person {
  // come opens the page and waits until it is in the room. options are those of
  // its browser context.
  static async come(browser, name, url, options) {
    const person = await Person.open(browser, name, url, options);
    await person.joined();
    return person;
  }

  // open doesn't wait for the page to be in the room.
  static async open(browser, name, url, options) {
    const person = new Person();
    const page = await (await browser.newContext(options)).newPage();
    page.setDefaultTimeout(30000);
    Object.assign(person, { name, page, said: [], servers: [], opened: 0, complaints: [] });
    page.on("pageerror", (error) => person.complaints.push(String(error)));
    page.on("console", (message) => {
      // Failed connections are reported as errors, too; they are no mistakes.
      if (message.text().includes("Content Security Policy")) person.complaints.push(message.text());
    });
    page.on("websocket", () => person.opened++);
    await page.goto(url);
    await byTestId(page, "name").fill(name);
    await byTestId(page, "join").click();
    return person;
  }

  async joined() {
    await byTestId(this.page, "people").getByText(`${this.name} (you)`).waitFor();
    this.servers.push(await this.server());
  }

  leave() {
    return this.page.context().close();
  }

  server() {
    return byTestId(this.page, "server").textContent();
  }

  // servedByOther waits for a server that isn't this one.
  async servedByOther(than) {
    await this.page.waitForFunction((name) => {
      const find = (id) => document.querySelector(`[data-testid="${id}"]`);
      return find("status").dataset.state === "connected" && ![name, "–"].includes(find("server").textContent);
    }, than);
    this.servers.push(await this.server());
  }

  async say(text) {
    this.said.push(text);
    await byTestId(this.page, "text").fill(text);
    await byTestId(this.page, "text").press("Enter");
  }

  // talk goes on until the function that it returns is called, and for LEAST
  // messages.
  talk(about) {
    let over = false;
    const talking = (async () => {
      for (let n = 1; !over || n <= LEAST; n++) {
        await this.say(`${this.name} ${about} ${n}`);
        await sleep(PAUSE);
      }
    })();
    return () => { over = true; return talking; };
  }

  // has waits until there are n messages and nothing is pending.
  has(n) {
    return this.page.waitForFunction((want) => {
      const all = document.querySelectorAll('[data-testid="messages"] [data-testid="message"]');
      return all.length >= want && !document.querySelector('[data-testid="pending"] [data-testid="message"]');
    }, n);
  }

  // watch has report say who is seen to leave from now on.
  watch() {
    return this.page.evaluate(() => {
      const list = document.querySelector('[data-testid="people"]');
      const names = () => [...list.children].map((item) => item.textContent);
      let before = names();
      window.left = [];
      new MutationObserver(() => {
        const now = names();
        window.left.push(...before.filter((name) => !now.includes(name)));
        before = now;
      }).observe(list, { childList: true });
    });
  }

  screenshot(directory, name) {
    return this.page.screenshot({ path: path.join(directory, `${name}.png`) });
  }

  async report() {
    const { page, said, servers, opened, complaints } = this;
    const messages = byTestId(page, "messages");
    return {
      said, servers, opened, complaints,
      texts: await messages.locator(".body").allTextContents(),
      ids: await messages.locator(".message").evaluateAll((items) => items.map((item) => item.dataset.id)),
      gaps: await messages.locator(".gap").count(),
      pending: await byTestId(page, "pending").locator("li").count(),
      people: await byTestId(page, "people").locator("li").allTextContents(),
      left: await page.evaluate(() => window.left ?? []),
      counted: Number(await byTestId(page, "opened").textContent()),
      moved: Number(await byTestId(page, "moved").textContent()),
    };
  }
}

// run calls main and ends the process, with status 1 if it failed.
function run(main) {
  main().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { Person, byTestId, run, sleep, withBrowser };
