"use strict";
// node board.js TASK opens pages of examples/socketio in Chromium, each of which also has
// some more clients of socket.io: members, as in crowd.js, and with the same commands. TASK is
// JSON: the url, chromium, and numbers: pages, clients of all pages together, rooms, every and
// answerTime (ms, see member.js). A report has the members, and what the pages themselves
// have counted.

const { createInterface } = require("readline");
const { run, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);

// make runs in the page. The first client gets the cookie that the others need to stay with
// one server while they poll.
async function make(members) {
  window.members = members.map((options) => () => new Member(io, location.origin, options));
  for (const [i, member] of window.members.entries()) {
    window.members[i] = member();
    if (i === 0) await window.members[0].join();
  }
  await Promise.all(window.members.slice(1).map((member) => member.join()));
}

// read runs in the page.
function read() {
  const numbers = ["disconnects", "answered", "moves"];
  return {
    members: window.members.map((member) => member.report()),
    page: Object.fromEntries(numbers.map((id) => [id, Number(document.querySelector(`[data-testid="${id}"]`).textContent)])),
  };
}

run(() => withBrowser(task.chromium, async (browser) => {
  const complaints = [];
  const pages = await Promise.all(Array.from({ length: task.pages }, async () => {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(120_000);
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(task.url);
    await page.waitForSelector('[data-state="connected"]');
    // First: the long polls of more clients would take all six connections of the browser.
    await page.getByTestId("transport").getByText("websocket").waitFor();
    await page.addScriptTag({ url: "/member.js" });
    return page;
  }));
  await Promise.all(pages.map((page, p) => {
    const own = Array.from({ length: task.clients }, (_, i) => i).filter((i) => i % task.pages === p);
    return page.evaluate(make, own.map((i, k) => ({
      name: `browser-${i}`,
      room: `crowd-${i % task.rooms}`,
      transports: k % 2 ? ["websocket"] : undefined,
      every: task.every,
      answerTime: task.answerTime,
    })));
  }));
  console.log(JSON.stringify({ event: "joined" }));
  for await (const line of createInterface(process.stdin)) {
    if (line !== "report") {
      await Promise.all(pages.map((page) => page.evaluate((what) => window.members.forEach((m) => m[what]()), line)));
      continue;
    }
    const all = await Promise.all(pages.map((page) => page.evaluate(read)));
    console.log(JSON.stringify({ event: "report", members: all.flatMap((one) => one.members), pages: all.map((one) => one.page), complaints }));
  }
}));
