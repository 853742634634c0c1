"use strict";
// node dashboard.js TASK uses the dashboard as an operator would. TASK is JSON: chromium,
// url, do (a name of tasks below), and what that task needs. It prints what was seen as one
// line of JSON; what is right is for the Go test to say, but for the waits.

const fs = require("fs");
const path = require("path");
const { byTestId, run, withBrowser } = require("./person.js");

const task = JSON.parse(process.argv[2]);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const views = ["overview", "backends", "sessions", "events", "changes", "system"];
const PATIENCE = 120_000; // ms: a busy machine

const errors = [];

async function open(browser, options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options })).newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (m) => {
    // Statuses other than 200 are reported as errors, too; they are no mistakes.
    if (m.type() === "error" && !m.text().startsWith("Failed to load resource")) errors.push(m.text());
  });
  page.on("request", (r) => { if (!r.url().startsWith(task.url)) errors.push(`a request to ${r.url()}`); });
  await page.goto(task.url);
  return page;
}

const live = (page) => page.locator('#link[data-state="live"]').waitFor();
const backend = (page, name) => page.locator(`[data-backend="${name}"]`);

async function show(page, view) {
  await page.goto(`${task.url}/#${view}`);
  await page.locator(`nav a[aria-current="page"][href="#${view.split("?")[0]}"]`).waitFor();
}

const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);

// audit returns what axe-core finds that is serious or critical. It is evaluated by the
// debugger, which the page's policy doesn't bind.
async function audit(page, where, { part = "html", only } = {}) {
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(axe);
  const found = await page.evaluate(async ([part, only]) => (await window.axe.run(part, { resultTypes: ["violations"], runOnly: only })).violations
    .map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.failureSummary}`) })), [part, only]);
  return found.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => ({ where, ...v }));
}

// chart is what a chart says in words.
const chart = (page, id) => byTestId(page, id).locator("svg.plot").getAttribute("aria-label");
const line = (page, id) => byTestId(page, id).locator("svg.plot path.line").first().getAttribute("d");

const tasks = {
  // look visits all views, in both colours and on a phone.
  async look(browser) {
    const page = await open(browser);
    await live(page);
    const result = { findings: [], tooWide: [], colours: {}, pictures: [] };
    for (const view of views) {
      await show(page, view);
      await page.emulateMedia({ colorScheme: "light" });
      result.findings.push(...await audit(page, `${view}, light`));
      await page.emulateMedia({ colorScheme: "dark" });
      result.findings.push(...await audit(page, `${view}, dark`, { only: ["color-contrast"] }));
    }
    const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    result.colours.dark = await colour();
    await page.locator("#theme").click(); // from auto to light
    result.colours.button = await colour();
    await page.reload();
    result.colours.reloaded = await colour();

    for (const [name, press] of [["drain", (p) => byTestId(backend(p, "main/a"), "drain").click()], ["close", (p) => byTestId(p, "close").first().click()], ["details", (p) => byTestId(p, "details").first().click()],
      ["close all", (p) => byTestId(p, "close-all").click()]]) {
      await show(page, name === "drain" ? "backends" : "sessions");
      await press(page);
      await page.locator("dialog[open]").waitFor();
      if ((await page.locator("dialog[open]").textContent()).includes("[object")) errors.push(`the dialog ${name} has an object as text`);
      result.findings.push(...await audit(page, `the dialog ${name}`, { part: "dialog" }));
      await page.keyboard.press("Escape");
      await page.locator("dialog[open]").waitFor({ state: "detached" });
    }
    await page.context().close();

    const phone = await open(browser, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    await live(phone);
    for (const view of views) {
      await show(phone, view);
      if (view === "sessions") await byTestId(phone, "session").first().waitFor();
      if (await tooWide(phone)) result.tooWide.push(view);
      if (task.pictures) await phone.screenshot({ path: path.join(task.pictures, `phone-${view}.png`) });
    }
    await show(phone, "backends");
    result.findings.push(...await audit(phone, "backends, phone"));
    return result;
  },

  // operate drains a backend, finds a session and closes it.
  async operate(browser) {
    const page = await open(browser);
    await live(page);
    const result = { charts: {} };
    const sessions = byTestId(page, "figure-sessions").locator("dd").first();
    await page.waitForFunction((n) => document.querySelector('[data-testid="figure-sessions"] dd')?.textContent === n, task.sessions);
    result.sessions = await sessions.textContent();

    // The lines move, and the messages are counted.
    const before = await line(page, "chart-messages");
    await page.waitForFunction((d) => {
      const svg = document.querySelector('[data-testid="chart-messages"] svg.plot');
      const now = svg.querySelector("path.line")?.getAttribute("d") ?? "";
      return now !== d && now.includes("L") && /now [1-9]/.test(svg.ariaLabel);
    }, before);
    for (const id of ["chart-sessions", "chart-connects", "chart-messages"]) result.charts[id] = await chart(page, id);
    if (task.pictures) await page.screenshot({ path: path.join(task.pictures, "overview.png") });

    // One client's session.
    await show(page, "sessions");
    await page.locator("#filter-search").fill(task.client);
    const row = byTestId(page, "session").filter({ hasText: task.client });
    await row.waitFor();
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="session"]').length === 1);
    result.claims = await row.locator(".claims").textContent();
    await byTestId(row, "details").click();
    result.facts = await byTestId(page, "session-facts").locator("div").allTextContents();
    await page.keyboard.press("Escape");
    await byTestId(row, "close").click();
    const dialog = byTestId(page, "close-dialog");
    await byTestId(dialog, "code").fill("999");
    await byTestId(dialog, "confirm").click();
    await byTestId(dialog, "problem").filter({ hasText: /./ }).waitFor();
    result.problem = await byTestId(dialog, "problem").textContent();
    await byTestId(dialog, "code").fill("4001");
    await byTestId(dialog, "reason").fill("moved to <b>another</b> account");
    await byTestId(dialog, "confirm").click();
    await byTestId(page, "said").filter({ hasText: "is being closed" }).waitFor();
    await page.locator('[data-testid="session"]').waitFor({ state: "detached" });
    result.found = await byTestId(page, "found").textContent();
    process.stdout.write("closed\n");

    // A drain, with its progress.
    await show(page, "backends");
    await byTestId(backend(page, "main/a"), "drain").click();
    const asked = byTestId(page, "drain-dialog");
    await asked.locator('[name="timeout"]').fill("soon");
    await byTestId(asked, "confirm").click();
    await byTestId(asked, "problem").filter({ hasText: /./ }).waitFor();
    result.refused = await byTestId(asked, "problem").textContent();
    await asked.locator('[name="timeout"]').fill(task.timeout);
    await byTestId(asked, "confirm").click();
    const bar = byTestId(backend(page, "main/a"), "drain-progress");
    await bar.waitFor();
    result.state = await backend(page, "main/a").locator(".badge").textContent();
    const progress = (least, most) => page.waitForFunction(([least, most]) => {
      const { value } = document.querySelector('[data-backend="main/a"] progress');
      return value >= least && value <= most;
    }, [least, most]);
    await progress(0.001, 0.999);
    if (task.pictures) await page.screenshot({ path: path.join(task.pictures, "drain.png") });
    process.stdout.write("draining\n");
    await progress(1, 1);
    result.words = await byTestId(backend(page, "main/a"), "drain-words").textContent();
    process.stdout.write("drained\n");
    await show(page, "overview");
    await page.waitForFunction(() => / [a-z_]*backend_drained: now/.test(document.querySelector('[data-testid="chart-closes"] svg.plot').ariaLabel));
    result.charts["chart-closes"] = await chart(page, "chart-closes");

    await show(page, "events");
    await page.locator('[data-testid="event"][data-kind="drain"]').first().waitFor();
    result.events = await byTestId(page, "event").allTextContents();

    await show(page, "backends");
    await byTestId(backend(page, "main/a"), "undrain").click();
    await byTestId(byTestId(page, "undrain-dialog"), "confirm").click();
    await backend(page, "main/a").locator('.badge[data-state="up"]').waitFor();

    // The log's level.
    await show(page, "system");
    await page.locator("#log-level").selectOption("warn");
    await byTestId(page, "said").filter({ hasText: "warn" }).waitFor();

    // A tab that nobody sees asks for nothing.
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.locator('#link[data-state="paused"]').waitFor();
    let asks = 0;
    page.on("request", () => asks++);
    await page.waitForTimeout(3000); // longer than between two polls
    result.hidden = asks;
    await page.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await live(page);
    result.injected = await page.evaluate(() => document.querySelectorAll("img, main b > b").length);
    return result;
  },

  // watch shows a view until standard input ends.
  async watch(browser) {
    const page = await open(browser);
    await live(page);
    await show(page, task.view);
    process.stdout.write("watching\n");
    await new Promise((done) => process.stdin.on("end", done).resume());
    return {};
  },

  // keyboard changes a weight without a pointer.
  async keyboard(browser) {
    const page = await open(browser, { reducedMotion: "reduce" });
    await live(page);
    const result = { steps: [] };
    const focused = () => page.evaluate(() => {
      const e = document.activeElement;
      const box = e.getBoundingClientRect();
      return { name: (e.ariaLabel ?? e.textContent).trim(), tag: e.tagName, inDialog: Boolean(e.closest("dialog")),
        outline: getComputedStyle(e).outlineStyle, visible: box.width > 0 && box.bottom > 0 && box.top < innerHeight };
    });
    // to presses Tab until an element with that name has the focus.
    const to = async (name) => {
      for (let n = 0; n < 200; n++) {
        await page.keyboard.press("Tab");
        const f = await focused();
        if (f.name === name) {
          result.steps.push(f);
          return;
        }
      }
      throw new Error(`Tab doesn't lead to ${name}`);
    };
    await to("Skip to the content");
    await to("Backends");
    await page.keyboard.press("Enter");
    await backend(page, "main/b").waitFor();
    await to("Weight… main/b");
    await page.keyboard.press("Enter");
    const dialog = byTestId(page, "weight-dialog");
    await dialog.waitFor();
    result.inDialog = [];
    for (let n = 0; n < 7; n++) {
      result.inDialog.push((await focused()).inDialog);
      await page.keyboard.press(n < 5 ? "Tab" : "Shift+Tab");
    }
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    result.back = (await focused()).name;
    await page.keyboard.press("Enter");
    await dialog.waitFor();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("7");
    await page.keyboard.press("Enter");
    await byTestId(page, "said").filter({ hasText: "weight" }).waitFor();
    await page.waitForFunction(() => document.querySelector('[data-backend="main/b"] [data-label="Weight"]').textContent.startsWith("7"));
    result.after = (await focused()).name;
    result.moves = await page.evaluate(() => document.getAnimations().length);

    // What was changed is shown, and undone.
    await to("Changes 1 differ from the file");
    await page.keyboard.press("Enter");
    await byTestId(page, "change").waitFor();
    result.changes = await byTestId(page, "change").locator("th, td").allTextContents();
    await to("Revert the changes of main/b");
    await page.keyboard.press("Enter");
    await to("Revert");
    await page.keyboard.press("Enter");
    await byTestId(page, "no-changes").waitFor();
    await show(page, "backends");
    await page.waitForFunction(() => document.querySelector('[data-backend="main/b"] [data-label="Weight"]').textContent.startsWith("1"));

    // The button that is pressed goes, and the one in its place gets the focus.
    await to("Maint… main/b");
    await page.keyboard.press("Enter");
    await byTestId(page, "maint-dialog").waitFor();
    await page.keyboard.press("Enter");
    await backend(page, "main/b").locator('.badge[data-state="maint"]').waitFor();
    await page.waitForFunction(() => document.activeElement.dataset.testid === "ready");
    await page.keyboard.press("Enter");
    await to("Ready");
    await page.keyboard.press("Enter");
    await backend(page, "main/b").locator('.badge[data-state="up"]').waitFor();
    return result;
  },

  // signin gives a wrong token, and then the right one.
  async signin(browser) {
    const page = await open(browser);
    const result = {};
    const dialog = byTestId(page, "signin");
    await dialog.waitFor();
    result.findings = await audit(page, "sign-in");
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await dialog.locator(".problem").filter({ hasText: /./ }).waitFor();
    result.refused = await dialog.locator(".problem").textContent();
    await page.keyboard.type(task.token);
    await page.keyboard.press("Enter");
    await live(page);
    await show(page, "events"); // the stream has the token, too
    await show(page, "backends");
    await backend(page, "main/a").waitFor();
    await page.reload();
    await live(page);
    result.dialogs = await page.locator("dialog").count();
    result.kept = await page.evaluate(() => ({ session: sessionStorage.length, local: JSON.stringify(localStorage), cookies: document.cookie }));
    const other = await (await page.context().newPage());
    await other.goto(task.url);
    await byTestId(other, "signin").waitFor();
    await page.locator("#signout").click();
    await dialog.waitFor();
    result.after = await page.evaluate(() => sessionStorage.length);
    return result;
  },
};

run(() => withBrowser(task.chromium, async (browser) => {
  const result = await tasks[task.do](browser);
  process.stdout.write(`${JSON.stringify({ ...result, errors })}\n`);
}));
