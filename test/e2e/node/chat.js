"use strict";
// node chat.js TASK uses the page of examples/chat as two people would, who
// talk without a break while their servers go. TASK is JSON: the url, chromium
// and a directory for pictures, the command that drains a server whose name is
// added to it, and the servers' pids by name. It prints how far it is, and in the
// end what was seen on the pages as one line of JSON; what is right is for the Go
// test to say, but for the waits.

const { execFile } = require("child_process");
const { promisify } = require("util");
const { Person, byTestId, run, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);
const room = `${task.url}/#%20ca%00f%C3%A9`;

run(() => withBrowser(task.chromium, async (browser) => {
  const ann = await Person.come(browser, "Ann", room, { viewport: { width: 1000, height: 620 } });
  const bob = await Person.come(browser, "Bob", room, { viewport: { width: 390, height: 780 }, colorScheme: "dark" });
  const all = () => ann.said.length + bob.said.length;
  const both = (f) => Promise.all([f(ann), f(bob)]);

  await ann.say("hello Bob <img src=x onerror=alert(1)>");
  await bob.has(1);
  await bob.say("hello Ann");
  await ann.has(2);
  await byTestId(bob.page, "text").pressSequentially("I am");
  await byTestId(ann.page, "typing").getByText("Bob is typing").waitFor();
  await ann.screenshot(task.pictures, "talk");
  process.stdout.write("talking\n");

  // Each of the two ends while both talk, and is over before they stop.
  let stop = [ann.talk("in the drain"), bob.talk("in the drain")];
  const [command, ...args] = task.drain;
  await promisify(execFile)(command, [...args, `chat/${ann.servers[0]}`]);
  await ann.servedByOther(ann.servers[0]);
  bob.servers.push(await bob.server());
  await Promise.all(stop.map((f) => f()));
  await both((p) => p.has(all()));
  await ann.screenshot(task.pictures, "drained");
  process.stdout.write("drained\n");

  stop = [ann.talk("after the kill"), bob.talk("after the kill")];
  process.kill(task.pids[bob.servers[1]], "SIGKILL");
  await both((p) => p.servedByOther(bob.servers[1]));
  await Promise.all(stop.map((f) => f()));
  await both((p) => p.has(all()));
  await bob.screenshot(task.pictures, "phone");

  process.stdout.write(JSON.stringify({ ann: await ann.report(), bob: await bob.report() }) + "\n");
}));
