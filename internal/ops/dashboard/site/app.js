// The page: its frame, the views, and which is shown. The address after # is the view, with
// parameters: #sessions?pool=chat&backend=ws1.

import { attr, h, text } from "./dom.js";
import * as api from "./api.js";
import { field, open } from "./dialog.js";
import { clock } from "./format.js";
import { start, store } from "./store.js";
import { watchStates } from "./announce.js";
import { initTheme } from "./theme.js";
import { overview } from "./views/overview.js";
import { backends } from "./views/backends.js";
import { sessions } from "./views/sessions.js";
import { events } from "./views/events.js";
import { changes } from "./views/changes.js";
import { system } from "./views/system.js";

const makers = { overview, backends, sessions, events, changes, system };
const labels = { overview: "Overview", backends: "Backends", sessions: "Sessions", events: "Events", changes: "Changes", system: "System" };

const ui = Object.fromEntries(["main", "nav", "version", "link", "alert", "shutdown", "theme", "signout"].map((id) => [id, document.getElementById(id)]));
const views = {}; // made when they are first shown
const links = {};
let current = "";

for (const [name, label] of Object.entries(labels)) {
  links[name] = h("a", { href: `#${name}` }, label);
  ui.nav.append(h("li", {}, links[name]));
}
const drift = h("span", { class: "number", hidden: true });
links.changes.append(" ", drift);

function show() {
  const [word, parameters] = location.hash.slice(1).split("?");
  const name = Object.hasOwn(makers, word) ? word : "overview";
  views[name] ??= makers[name]();
  const moved = current !== "" && current !== name;
  if (current !== name) {
    views[current]?.hide?.();
    ui.main.replaceChildren(views[name].element);
    for (const [n, a] of Object.entries(links)) attr(a, { "aria-current": n === name ? "page" : null });
    current = name;
    document.title = `${labels[name]} · holdfast`;
    scrollTo(0, 0);
  }
  views[name].show?.(new URLSearchParams(parameters ?? ""));
  if (store.status) views[name].update?.();
  if (moved) ui.main.focus({ preventScroll: true });
}

store.addEventListener("status", () => {
  const s = store.status;
  text(ui.version, s.version);
  drift.hidden = !s.changes;
  drift.replaceChildren(String(s.changes), h("span", { class: "hidden" }, " differ from the file"));
  ui.shutdown.hidden = !s.draining;
  if (s.draining) text(ui.shutdown, `The balancer is shutting down, since ${clock(s.draining_since)}.`);
  ui.signout.hidden = !api.signedIn();
  views[current]?.update?.();
});
store.addEventListener("events", () => views[current]?.updateEvents?.());

const words = { connecting: "Connecting…", live: "Live", lost: "No connection", paused: "Paused" };

store.addEventListener("link", () => {
  attr(ui.link, { "data-state": store.link });
  text(ui.link, words[store.link]);
  const lost = store.link === "lost";
  document.body.classList.toggle("stale", lost);
  ui.alert.hidden = !lost;
  if (lost) {
    text(ui.alert, `${store.problem.message} ${store.at ? `What you see is from ${clock(store.at)}.` : ""} It is tried again until it answers.`);
  } else {
    text(ui.alert, "");
  }
});

// ---- sign-in

api.onRefused((why) => new Promise((resolve) => {
  const input = h("input", { type: "password", name: "token", autocomplete: "off", spellcheck: false, required: true });
  const problem = h("div", { class: "problem", role: "alert" }, why);
  const go = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", { method: "dialog", noValidate: true },
    h("p", {}, "This balancer asks for a token: one of those in the file that admin.token_file of its configuration names."),
    field("Token", input, "It is kept in this tab only, until you close it or sign out."), problem, h("div", { class: "actions" }, go));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(value)) { // what a header field may have
      text(problem, value ? "A token has no spaces, and only characters of ASCII." : "Enter the token.");
      input.focus();
      return;
    }
    dialog.close();
  });
  // There is nothing to see without it, so after Esc it comes again.
  const dialog = open("Sign in", form, { testid: "signin", onclose: () => resolve(input.value.trim()) });
  input.focus();
}));

ui.signout.addEventListener("click", () => {
  api.setToken("");
  location.reload();
});

// The address after # is the view, so the link must not change it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  ui.main.focus();
});

initTheme(ui.theme);
watchStates();
addEventListener("hashchange", show);
show();
start();
