"use strict";
// node redis_lost.js TASK uses the page of examples/chat as people would whose
// servers lose Redis twice. TASK is JSON: the url of the balancer, the name and
// url of one of the servers, chromium and a directory for pictures.
//
// In round N it prints "talking N" when Redis may be killed, "lost N" when it may
// come back, and "seen N" with what was seen on the pages, as JSON. After that it
// waits for that server to be drained, and prints "moved 0", and for the other
// one, and prints "moved 1". What is right is for the Go test to say,
// but for the waits.

const { Person, byTestId, run, sleep, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);
const room = "#caf%C3%A9";
const SETTLE = 4500; // ms: by then, leases that weren't renewed have run out and been noticed
const MOST = 5; // messages that a person may post at once

const print = (...words) => process.stdout.write(words.join(" ") + "\n");

// talkUntilRefused has a person say one thing after another until the server has
// refused something, and returns what is pending then.
async function talkUntilRefused(person, about) {
  const refusals = byTestId(person.page, "events").getByText("message not sent yet");
  const before = await refusals.count();
  for (let n = 1; (await refusals.count()) === before; n++) {
    if (n <= MOST) await person.say(`${person.name} ${about} ${n}`);
    await sleep(300);
  }
  return byTestId(person.page, "pending").locator(".body").allTextContents();
}

async function report(people) {
  const entries = people.map(async (p) => [p.name, await p.report()]);
  return Object.fromEntries(await Promise.all(entries));
}

run(() => withBrowser(task.chromium, async (browser) => {
  const size = { viewport: { width: 1000, height: 620 } };
  const ann = await Person.come(browser, "Ann", `${task.url}/${room}`, size);
  let bob = await Person.come(browser, "Bob", `${task.url}/${room}`, size);
  while (bob.servers[0] === ann.servers[0]) {
    // A request of a page counts as a session while it runs: on a slow machine
    // it may have been in the way.
    await bob.page.close();
    bob = await Person.come(browser, "Bob", `${task.url}/${room}`, size);
  }
  const cat = await Person.come(browser, "Cat", `${task.server.url}/${room}`, size);
  const besideCat = [ann, bob].find((p) => p.servers[0] === task.server.name);
  const people = [ann, bob, cat];
  const both = (f) => Promise.all([ann, bob].map(f));
  const allHaveAll = () => {
    const said = people.reduce((sum, p) => sum + p.said.length, 0);
    return Promise.all(people.map((p) => p.has(said)));
  };

  const rounds = [["Dan", "while it is away"], ["Eve", "while it is away again"]];
  for (const [round, [latecomer, when]] of rounds.entries()) {
    await both((p) => p.say(`${p.name}, before Redis goes`));
    await allHaveAll();
    await Promise.all(people.map((p) => p.watch()));
    print("talking", round);

    const pending = await both((p) => talkUntilRefused(p, when));
    const late = await Person.open(browser, latecomer, `${task.url}/${room}`, size);
    await late.page.locator('[data-testid="status"][data-state="waiting"]').waitFor();
    await byTestId(cat.page, "text").pressSequentially("I think");
    await byTestId(besideCat.page, "typing").getByText("Cat is typing").waitFor();
    if (round === 0) await besideCat.screenshot(task.pictures, "redis-lost");
    print("lost", round);

    const recovered = [late.joined(), allHaveAll()];
    await Promise.race(recovered);
    const settled = sleep(SETTLE);
    await Promise.all(recovered);
    await both((p) => p.say(`${p.name}, now it is back`));
    await allHaveAll();
    await settled;
    people.push(late);
    print("seen", round, JSON.stringify({ pending, pages: await report(people) }));
  }
  const inNode = [ann, bob].find((p) => p !== besideCat);
  for (const [i, p] of [besideCat, inNode].entries()) {
    await p.servedByOther(p.servers[0]);
    print("moved", i, JSON.stringify(await p.report()));
  }
}));
