// How far a drain is.

import { h, text } from "../../dom.js";
import { clock, count, seconds } from "../../format.js";
import { store } from "../../store.js";

// Progress is a bar and a line about a drain; there is nothing to see without one.
export class Progress {
  #bar;
  #words = h("span", { class: "soft", "data-testid": "drain-words" });

  constructor(name) {
    this.#bar = h("progress", { max: 1, value: 0, "aria-label": `Drain of ${name}`, "data-testid": "drain-progress" });
    this.element = h("div", { class: "progress", hidden: true }, this.#bar, this.#words);
  }

  // update shows the drain of a backend.
  update(b) {
    const drain = b.drain;
    this.element.hidden = !drain;
    if (!drain) return;
    // The balancer says how many sessions there were; some may have come in the same moment.
    const first = Math.max(drain.sessions ?? 0, b.sessions);
    const done = first === 0 ? 1 : 1 - b.sessions / first;
    this.#bar.value = done;
    const left = (new Date(drain.deadline) - store.at) / 1000;
    text(this.#words, b.sessions === 0 ? "empty"
      : `${count(b.sessions)} of ${count(first)} left, ${left > 0 ? `until ${clock(drain.deadline)} (${seconds(Math.ceil(left))})` : "the deadline has passed"}`);
  }
}
