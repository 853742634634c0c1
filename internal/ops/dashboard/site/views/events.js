// What has happened, the newest first.

import { attr, h, Keyed, pair, text } from "../dom.js";
import { clock, plural, when } from "../format.js";
import { store } from "../store.js";

const KINDS = ["backend", "drain", "backends", "change", "reload", "rebalance", "sessions", "certificate", "overload", "shutdown"];

// eventItem is an entry of a timeline.
export function eventItem(e) {
  const element = h("li", { "data-level": e.level, "data-kind": e.kind, "data-testid": "event" },
    h("time", { dateTime: e.time }, when(e.time)),
    h("span", { class: "kind" }, e.kind),
    e.level === "info" ? null : h("strong", { class: "level" }, e.level),
    e.pool ? h("a", { href: `#backends?pool=${encodeURIComponent(e.pool)}` }, e.backend ? `${e.pool}/${e.backend}` : e.pool) : null,
    h("span", { class: "message" }, e.message, " ", h("span", { class: "soft" }, details(e))));
  return { element, update() {} };
}

// details are the other values of an event, but of a backend's state, which the message has.
function details(e) {
  if (e.kind === "backend") return "";
  return Object.entries(e.detail ?? {}).filter(([, v]) => typeof v !== "object").map(([k, v]) => `${k} ${v}`).join(", ");
}

export function events() {
  const kind = h("select", { id: "event-kind", on: { change: update } }, h("option", { value: "" }, "all kinds"), KINDS.map((k) => h("option", { value: k }, k)));
  const level = h("select", { id: "event-level", on: { change: update } },
    h("option", { value: "" }, "all levels"), h("option", { value: "warn" }, "warnings and errors"), h("option", { value: "error" }, "errors"));
  const word = h("input", { type: "search", id: "event-search", placeholder: "pool, backend, text", autocomplete: "off", on: { input: update } });
  const hold = h("button", { type: "button", "aria-pressed": "false", on: { click: () => {
    held = held ? null : [...store.events];
    attr(hold, { "aria-pressed": held ? "true" : "false" });
    text(hold, held ? "Go on" : "Hold");
    update();
  } } }, "Hold");
  const shown = h("p", { class: "soft" });
  const list = new Keyed(h("ol", { class: "timeline", "data-testid": "timeline" }), eventItem);
  let held = null; // what is shown while the list is held

  const element = h("div", { class: "view" }, h("h1", { class: "hidden" }, "Events"),
    h("section", { class: "card", "aria-labelledby": "events-title" },
      h("div", { class: "bar" }, h("h2", { id: "events-title" }, "Events"),
        h("div", { class: "controls", role: "search", "aria-label": "Events" }, pair("Kind", kind), pair("Level", level), pair("Search", word), hold)),
      shown, list.parent));

  function update() {
    const all = held ?? store.events;
    const words = word.value.trim().toLowerCase();
    const match = all.filter((e) => (!kind.value || e.kind === kind.value || e.kind === "missed")
      && (!level.value || e.level === "error" || e.level === level.value)
      && (!words || `${e.kind} ${e.pool ?? ""}/${e.backend ?? ""} ${e.message}`.toLowerCase().includes(words)));
    list.update(match, (e) => `${e.id} ${e.kind}`);
    const since = all.length ? `, since ${clock(all.at(-1).time)}` : "";
    const news = held ? store.events.length && store.events[0].id !== held[0]?.id ? " Newer ones are held back." : " Newer ones will be held back." : "";
    text(shown, `${match.length === all.length ? plural(all.length, "event") : `${match.length} of ${plural(all.length, "event")}`}${since}.${news}`);
  }
  return { element, show: update, update, updateEvents: update };
}
