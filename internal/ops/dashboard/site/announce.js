// What is said of actions and of changes of state. One live region says it, and changes of
// state are gathered, so that a screen reader isn't kept busy.

import { text } from "./dom.js";
import { plural } from "./format.js";
import { store } from "./store.js";

const GATHER = 5000; // ms
const SHOWN = 12_000; // ms

let gone = 0;

// say shows a sentence at the foot of the page and has it read aloud.
export function say(sentence) {
  const place = document.getElementById("said");
  text(place, sentence);
  clearTimeout(gone);
  gone = setTimeout(() => text(place, ""), SHOWN);
}

// watchStates has changes of backends' states read aloud. They are also on the page.
export function watchStates() {
  const states = new Map();
  let started = "";
  let news = [];
  let timer = 0;
  const place = document.body.appendChild(Object.assign(document.createElement("p"), { className: "hidden", role: "status" }));
  store.addEventListener("status", () => {
    const first = store.status.started !== started;
    started = store.status.started;
    for (const p of store.status.pools) {
      for (const b of p.backends ?? []) {
        const key = JSON.stringify([p.name, b.name]);
        if (!first && states.has(key) && states.get(key) !== b.state) news.push(`${p.name}/${b.name} is ${b.state}`);
        states.set(key, b.state);
      }
    }
    if (!news.length || timer) return;
    timer = setTimeout(() => {
      timer = 0;
      text(place, news.length > 3 ? `${plural(news.length, "change")} of backends' states` : news.join(", "));
      news = [];
    }, GATHER);
  });
}
