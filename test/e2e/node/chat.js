"use strict";
// node chat.js TASK uses the page of examples/chat as two people would, who
// talk without a break while their servers go. TASK is JSON: the url, chromium
// and a directory for pictures, the command that drains a server whose name is
// added to it, and the servers' pids by name. It prints how far it is, and in the
// end what was seen on the pages as one line of JSON; what is right is for the Go
// test to say, but for the waits.

const path = require("path");
const { execFile } = require("child_process");
const { promisify } = require("util");
const { chromium } = require("playwright-core");

const task = JSON.parse(process.argv[2]);
const PAUSE = 150; // ms between two messages of a person
const LEAST = 8; // messages, so that some come after the end of a server

const byTestId = (page, id) => page.locator(`[data-testid="${id}"]`);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Person is one with a page of their own.
class Person {
  static async come(browser, name, options) {
    const person = new Person();
    const page = await (await browser.newContext(options)).newPage();
    page.setDefaultTimeout(30000);
    Object.assign(person, { name, page, said: [], servers: [], opened: 0, complaints: [] });
    page.on("pageerror", (error) => person.complaints.push(String(error)));
    page.on("websocket", () => person.opened++);
    await page.goto(`${task.url}/#%20ca%00f%C3%A9`);
    await byTestId(page, "name").fill(name);
    await byTestId(page, "join").click();
    await byTestId(page, "people").getByText(`${name} (you)`).waitFor();
    person.servers.push(await person.server());
    return person;
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

  screenshot(name) {
    return this.page.screenshot({ path: path.join(task.pictures, `${name}.png`) });
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
      counted: Number(await byTestId(page, "opened").textContent()),
      moved: Number(await byTestId(page, "moved").textContent()),
    };
  }
}

async function main() {
  const browser = await chromium.launch({
    executablePath: task.chromium,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const ann = await Person.come(browser, "Ann", { viewport: { width: 1000, height: 620 } });
    const bob = await Person.come(browser, "Bob", { viewport: { width: 390, height: 780 }, colorScheme: "dark" });
    const all = () => ann.said.length + bob.said.length;
    const both = (f) => Promise.all([f(ann), f(bob)]);

    await ann.say("hello Bob <img src=x onerror=alert(1)>");
    await bob.has(1);
    await bob.say("hello Ann");
    await ann.has(2);
    await byTestId(bob.page, "text").pressSequentially("I am");
    await byTestId(ann.page, "typing").getByText("Bob is typing").waitFor();
    await ann.screenshot("talk");
    process.stdout.write("talking\n");

    // Each of the two ends while both talk, and is over before they stop.
    let stop = [ann.talk("in the drain"), bob.talk("in the drain")];
    const [command, ...args] = task.drain;
    await promisify(execFile)(command, [...args, `chat/${ann.servers[0]}`]);
    await ann.servedByOther(ann.servers[0]);
    bob.servers.push(await bob.server());
    await Promise.all(stop.map((f) => f()));
    await both((p) => p.has(all()));
    await ann.screenshot("drained");
    process.stdout.write("drained\n");

    stop = [ann.talk("after the kill"), bob.talk("after the kill")];
    process.kill(task.pids[bob.servers[1]], "SIGKILL");
    await both((p) => p.servedByOther(bob.servers[1]));
    await Promise.all(stop.map((f) => f()));
    await both((p) => p.has(all()));
    await bob.screenshot("phone");

    process.stdout.write(JSON.stringify({ ann: await ann.report(), bob: await bob.report() }) + "\n");
  } finally {
    await browser.close();
  }
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
