"use strict";
// node pages.js TASK opens a WebSocket from each of some pages in Chromium, for which
// every name leads to this machine. TASK is JSON: chromium, and tries, a list of the
// page's URL and the WebSocket's. It prints a list of what the pages saw: "open", or
// "error". A page whose URL is "sandbox" is a sandboxed frame of the page before it.

const { run, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);

// connect runs in the page.
const connect = (url) => new Promise((done) => {
  const socket = new WebSocket(url);
  socket.onopen = () => { done("open"); socket.close(); };
  socket.onerror = () => done("error");
});

run(() => withBrowser(task.chromium, async (browser) => {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(60000);
  const seen = [];
  for (const [from, to] of task.tries) {
    let frame = page.mainFrame();
    if (from === "sandbox") {
      await page.setContent('<iframe sandbox="allow-scripts" srcdoc="<p>framed</p>"></iframe>');
      frame = await (await page.waitForSelector("iframe")).contentFrame();
      await frame.waitForSelector("p");
    } else {
      await page.goto(from);
    }
    seen.push(await frame.evaluate(connect, to));
  }
  console.log(JSON.stringify(seen));
}, ["--host-resolver-rules=MAP * 127.0.0.1"]));
