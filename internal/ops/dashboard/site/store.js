// What the page knows of the balancer: the last status, a history, the events. It asks only
// while the tab is visible.

import * as api from "./api.js";
import { follow } from "./stream.js";
import { History } from "./history.js";

const INTERVAL = 2000; // ms between two polls of the status
const SHARE = 10; // a balancer with many backends takes longer, and is asked less often
const MAX_INTERVAL = 15_000; // ms
const EVENTS = 500; // that are kept
const AGAIN = 1000; // ms until a stream that has ended is opened again; doubled while it fails
const STEADY = 5000; // ms after which a stream counts as one that works

export const store = Object.assign(new EventTarget(), {
  status: null,
  at: 0, // when it came, by this machine's clock
  history: new History(),
  events: [], // the newest first
  // link is "connecting", "live", "lost" or "paused"; problem is why it is lost.
  link: "connecting",
  problem: null,
});

const changed = (what) => store.dispatchEvent(new Event(what));

function setLink(link, problem = null) {
  if (store.link === link && store.problem?.message === problem?.message) return;
  Object.assign(store, { link, problem });
  changed("link");
}

let timer = 0;
let polling = null;
let failures = 0;

// refresh asks for the status now.
export function refresh() {
  clearTimeout(timer);
  polling ??= poll().finally(() => { polling = null; });
  return polling;
}

async function poll() {
  const began = performance.now();
  try {
    const status = await api.get("/v1/status");
    if (store.status && store.status.started !== status.started) restarted();
    Object.assign(store, { status, at: Date.now() });
    store.history.add(store.at, status);
    failures = 0;
    setLink("live");
    changed("status");
  } catch (error) {
    failures++;
    store.history.pause();
    setLink("lost", error);
  }
  if (document.hidden) { // since this poll began
    store.history.pause();
    setLink("paused");
    return;
  }
  const took = performance.now() - began;
  timer = setTimeout(refresh, Math.min(MAX_INTERVAL, Math.max(INTERVAL, took * SHARE) * 1.5 ** failures));
}

// restarted forgets what belongs to another process.
function restarted() {
  store.history.clear();
  store.events = [];
  stop?.abort();
}

// ---- events

let stop = null; // of the stream that is open
let last = 0; // ID of the last event

async function watch() {
  for (let failures = 0; !document.hidden; ) {
    stop = new AbortController();
    const began = performance.now();
    try {
      await follow(last, receive, stop.signal);
    } catch { /* the poll says what is wrong */ }
    if (stop.signal.aborted) last = store.events[0]?.id ?? 0;
    failures = performance.now() - began > STEADY ? 0 : failures + 1;
    await new Promise((done) => setTimeout(done, Math.min(MAX_INTERVAL, AGAIN * 2 ** failures)));
    // Wait until the balancer answers again.
    while (store.link !== "live" && !document.hidden) await new Promise((done) => store.addEventListener("link", done, { once: true }));
  }
  stop = null;
}

let waiting = false;

function receive(event) {
  if (event.id <= last && event.kind !== "missed") return;
  last = Math.max(last, event.id);
  store.events.unshift(event);
  if (store.events.length > EVENTS) store.events.length = EVENTS;
  if (waiting) return;
  waiting = true; // many may come at once
  requestAnimationFrame(() => { waiting = false; changed("events"); });
}

let watching = null;

function wake() {
  if (document.hidden) {
    clearTimeout(timer);
    stop?.abort();
    store.history.pause();
    setLink("paused");
    return;
  }
  refresh();
  watching ??= watch().finally(() => { watching = null; });
}

// start begins to ask.
export function start() {
  document.addEventListener("visibilitychange", wake);
  wake();
}
