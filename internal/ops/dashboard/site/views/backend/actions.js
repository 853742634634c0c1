// What operators do with a backend, each with a dialog that says what will happen.

import { h } from "../../dom.js";
import * as api from "../../api.js";
import { ask, field } from "../../dialog.js";
import { say } from "../../announce.js";
import { plural } from "../../format.js";
import { refresh } from "../../store.js";

// act shows a dialog and reports what the balancer says.
async function act(title, content, options, done) {
  const result = await ask(title, content, options);
  if (result === undefined) return;
  const warnings = result?.warnings ?? [];
  say([done, ...warnings].join(" "));
  refresh();
}

const target = (pool, b, ...more) => api.path("pools", pool, "backends", b.name, ...more);

function timeout() {
  const input = h("input", { name: "timeout", autocomplete: "off", spellcheck: false, placeholder: "as the pool's drain.timeout" });
  return { input, element: field("Time for the sessions", input, "Such as 90s or 10m. Sessions that are left are closed evenly before its end. 0s closes them at once."), body: () => {
    const value = input.value.trim();
    return value ? { timeout: value } : {};
  } };
}

export function drain(pool, b) {
  const time = timeout();
  return act(`Drain ${pool}/${b.name}`, [
    h("p", {}, `It gets no new sessions. ${b.sessions === 1 ? "Its 1 session goes" : `Its ${plural(b.sessions, "session")} go`} on, or move to other backends if the pool has reattach, and what is left is closed before the time is over.`),
    time.element,
  ], { action: "Drain", danger: true, testid: "drain-dialog", run: () => api.post(target(pool, b, "drain"), time.body()) },
  `${pool}/${b.name} is being drained.`);
}

export function undrain(pool, b) {
  return act(`Undrain ${pool}/${b.name}`, [h("p", {}, "It gets new sessions again. Sessions that are still there stay.")],
    { action: "Undrain", testid: "undrain-dialog", run: () => api.post(target(pool, b, "undrain")) },
    `${pool}/${b.name} is no longer drained.`);
}

export function maint(pool, b) {
  const time = timeout();
  return act(`Maintenance of ${pool}/${b.name}`, [
    h("p", {}, `It gets no new sessions, its health is no longer checked, and its ${plural(b.sessions, "session")} end as in a drain.`),
    time.element,
  ], { action: "Begin maintenance", danger: true, testid: "maint-dialog", run: () => api.post(target(pool, b, "maint"), time.body()) },
  `${pool}/${b.name} is in maintenance.`);
}

export function ready(pool, b) {
  return act(`End the maintenance of ${pool}/${b.name}`, [h("p", {}, "Its health is checked again, and it gets new sessions if it is up.")],
    { action: "Ready", testid: "ready-dialog", run: () => api.post(target(pool, b, "ready")) },
    `${pool}/${b.name} is ready.`);
}

export function changeWeight(pool, b) {
  const input = h("input", { name: "weight", type: "number", min: 0, step: 1, value: b.weight, autocomplete: "off", required: true });
  return act(`Weight of ${pool}/${b.name}`, [
    field("Weight", input, "Its share of new sessions, relative to the other backends. It is kept over reloads, until it is reverted."),
  ], { action: "Change", testid: "weight-dialog", run: () => {
    if (!/^\d+$/.test(input.value.trim())) throw new api.Problem(422, "The weight must be a whole number.", "weight");
    return api.patch(target(pool, b), { weight: Number(input.value) });
  } }, `The weight of ${pool}/${b.name} was changed.`);
}
