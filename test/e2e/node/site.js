"use strict";
// node site.js TASK reads the documentation in Chromium as a person does, from files on the
// disk. TASK is JSON: chromium, and index, the URL of the first page. It prints what was
// seen, as JSON.

const { run, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);

run(() => withBrowser(task.chromium, async (browser) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  const seen = { complaints: [], requests: [] };
  page.on("pageerror", (e) => seen.complaints.push(String(e)));
  page.on("request", (r) => { if (!r.url().startsWith("file:")) seen.requests.push(r.url()); });
  await page.goto(task.index);
  seen.title = await page.title();
  // The keyboard alone: find, choose the second result, go there.
  await page.keyboard.press("/");
  await page.keyboard.type("slow_start");
  await page.waitForSelector("#results a");
  seen.found = await page.locator("#results a b").allTextContents();
  seen.status = await page.locator("#count").textContent();
  await page.keyboard.press("ArrowDown");
  const second = await page.locator('#results a[aria-selected="true"]').getAttribute("href");
  await page.keyboard.press("Enter");
  await page.waitForURL((u) => u.href.endsWith(second));
  seen.second = second;
  // What isn't there is not found, and is no HTML.
  await page.keyboard.press("/");
  await page.keyboard.type("<img src=x>nothing");
  await page.waitForSelector("#results .none");
  await page.keyboard.press("Escape");
  seen.hidden = await page.locator("#results").isHidden();
  // A small screen: the index is behind a button, and no page is wider than the screen.
  await page.setViewportSize({ width: 390, height: 800 });
  seen.wide = [];
  for (const name of ["index.html", "config.html", "performance.html"]) {
    await page.goto(new URL(name, task.index).href);
    if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) seen.wide.push(name);
  }
  seen.index = [await page.locator("#index").isVisible()];
  await page.click("#menu");
  seen.index.push(await page.locator("#index").isVisible());
  console.log(JSON.stringify(seen));
}));
