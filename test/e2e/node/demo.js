"use strict";
// node demo.js TASK uses the demo as people would: Ann and Bob talk without a
// break, and Cleo, in another room, takes their servers away by the buttons of
// her page. TASK is JSON: the url, the balancer's admin address, chromium and a
// directory for pictures. It prints how far it is, and then what was seen on the
// pages as one line of JSON. When its standard input ends, it waits for the end of
// the demo and prints how the pages took it. What is right is for the Go test to
// say, but for the waits.

const { Person, byTestId, run, sleep, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);
const REST = 2000; // ms without a change of the numbers

// Controls are the demo's section of a page.
class Controls {
  constructor(page) {
    this.page = page;
  }

  row(server) {
    return this.page.locator(`[data-server="${server}"]`);
  }

  press(server, button) {
    return byTestId(this.row(server), button).click();
  }

  // until waits for a state of a server.
  until(server, state) {
    return this.page.locator(`[data-server="${server}"][data-state="${state}"]`).waitFor();
  }

  async pid(server) {
    return Number((await byTestId(this.row(server), "pid").textContent()).replace("pid ", ""));
  }

  rows() {
    return byTestId(this.page, "server-row").evaluateAll((items) => items.map((item) => ({
      server: item.dataset.server,
      state: item.dataset.state,
      sessions: Number(item.querySelector('[data-testid="sessions"]').textContent),
      chart: item.querySelector("svg").getAttribute("aria-label"),
      here: item.ariaCurrent === "true",
    })));
  }

  // atRest waits until each server has at least so many sessions, and none
  // moves any more.
  async atRest(least) {
    let before = "";
    for (let since = Date.now(); Date.now() - since < REST; await sleep(250)) {
      const sessions = (await this.rows()).map((row) => row.sessions);
      if (Math.min(...sessions) < least || String(sessions) !== before) since = Date.now();
      before = String(sessions);
    }
    return this.rows();
  }

  text(id) {
    return byTestId(this.page, id).textContent();
  }

  // focused is the name of the button that has the focus.
  focused() {
    return this.page.evaluate(() => {
      const e = document.activeElement;
      return e.closest('[data-testid="demo"]') ? e.ariaLabel ?? e.textContent : e.tagName;
    });
  }
}

async function balancerSessions() {
  const { pools } = await (await fetch(`http://${task.admin}/v1/status`)).json();
  const all = pools.find((pool) => pool.name === "chat").backends;
  return Object.fromEntries(all.filter((b) => b.state !== "removed").map((b) => [b.name, b.sessions]));
}

// closes are the codes of the connections of a page that have ended.
async function closes(page) {
  const all = await byTestId(page, "events").locator("li span").allTextContents();
  return all.flatMap((text) => text.match(/^connection closed (\d+)/)?.[1] ?? []).map(Number);
}

run(() => withBrowser(task.chromium, async (browser) => {
  const ann = await Person.come(browser, "Ann", task.url, { viewport: { width: 1280, height: 800 } });
  let bob;
  for (;;) {
    bob = await Person.come(browser, "Bob", task.url, { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
    if (bob.servers[0] !== ann.servers[0]) break;
    await bob.leave();
  }
  const cleo = await Person.come(browser, "Cleo", `${task.url}/#control`);
  const controls = new Controls(cleo.page);
  const people = [ann, bob];
  const heard = () => Promise.all(people.map((p) => p.has(ann.said.length + bob.said.length)));
  const talking = (about) => {
    const stops = people.map((p) => p.talk(about));
    return async () => { await Promise.all(stops.map((f) => f())); await heard(); };
  };
  const result = { drained: ann.servers[0] };

  await ann.say("hello Bob <img src=x onerror=alert(1)>");
  await bob.has(1);
  await bob.say("hello Ann");
  await ann.has(2);
  process.stdout.write("talking\n");

  let stop = talking("in the drain");
  await controls.press(result.drained, "drain");
  await ann.servedByOther(result.drained);
  await controls.row(result.drained).waitFor({ state: "detached" });
  bob.servers.push(await bob.server());
  await stop();
  process.stdout.write("drained\n");

  stop = talking("after the kill");
  const killed = bob.servers[1];
  result.killed = { server: killed, pids: [await controls.pid(killed)] };
  await controls.press(killed, "kill");
  await controls.until(killed, "down");
  const left = (await controls.rows()).map((row) => row.server);
  await controls.press(left.find((server) => server !== killed), "drain");
  await cleo.page.locator('[data-testid="said"].bad').waitFor();
  result.refusal = await controls.text("said");
  await byTestId(cleo.page, "add").focus();
  await cleo.page.keyboard.press("Enter");
  await Promise.all(people.map((p) => p.servedByOther(killed)));
  await stop();
  await controls.until(killed, "serving");
  result.killed.pids.push(await controls.pid(killed));
  process.stdout.write("killed\n");

  result.rows = await controls.atRest(10);
  result.balancer = await balancerSessions();
  result.total = await controls.text("total");
  result.dashboard = await byTestId(cleo.page, "dashboard").getAttribute("href");
  result.added = result.rows.map((row) => row.server).find((server) => !left.includes(server));
  result.focus = [await controls.focused()];
  result.serves = await cleo.server();
  await ann.screenshot(task.pictures, "demo");
  process.stdout.write("at rest\n");

  // By hand, and at the same time a drain by the keyboard, which takes the
  // button away that has the focus.
  const shot = await ann.server();
  result.shot = { server: shot, pids: [await controls.pid(shot)] };
  const other = result.rows.map((row) => row.server).find((server) => server !== shot);
  await byTestId(controls.row(other), "drain").focus();
  process.kill(result.shot.pids[0], "SIGKILL");
  await cleo.page.keyboard.press("Enter");
  for (const p of people) await p.say(`${p.name} is still here`);
  await controls.row(other).waitFor({ state: "detached" });
  result.focus.push(await controls.focused());
  await controls.until(shot, "serving");
  result.shot.pids.push(await controls.pid(shot));
  await heard();

  result.guests = await controls.text("guests");
  result.tooWide = [];
  for (const p of [...people, cleo]) {
    if (await p.page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) result.tooWide.push(p.name);
  }
  Object.assign(result, { ann: await ann.report(), bob: await bob.report(), cleo: await cleo.report() });
  process.stdout.write(JSON.stringify(result) + "\n");

  await new Promise((done) => process.stdin.on("end", done).resume());
  await byTestId(cleo.page, "said").getByText("The demo has ended.").waitFor();
  process.stdout.write(JSON.stringify({ ann: await closes(ann.page), bob: await closes(bob.page) }) + "\n");
}));
