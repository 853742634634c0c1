// Closing sessions.

import { h, text } from "../../dom.js";
import * as api from "../../api.js";
import { ask, field } from "../../dialog.js";
import { say } from "../../announce.js";
import { plural, seconds } from "../../format.js";

const CODES = [
  ["1000", "normal closure"], ["1001", "going away"], ["1008", "policy violation"], ["1012", "service restart"], ["1013", "try again later"],
];
const DEFAULT = "1008";
const MAX_REASON = 123; // bytes of a reason, RFC 6455 section 5.5

function controls() {
  const codes = h("datalist", { id: "close-codes" }, CODES.map(([value, label]) => h("option", { value }, label)));
  const code = h("input", { name: "code", type: "number", min: 1000, max: 4999, step: 1, value: DEFAULT, list: codes.id, required: true, "data-testid": "code" });
  const reason = h("input", { name: "reason", autocomplete: "off", "data-testid": "reason" });
  const body = () => {
    if (!/^\d{4}$/.test(code.value.trim())) throw new api.Problem(422, "The code must be a number such as 1008 or 4000.", "code");
    if (new TextEncoder().encode(reason.value).length > MAX_REASON) throw new api.Problem(422, `The reason must not be longer than ${MAX_REASON} bytes.`, "reason");
    return { code: Number(code.value), reason: reason.value };
  };
  return { body, elements: [codes,
    field("Close code", code, "1008 is policy violation, 1001 going away, 1012 service restart; from 4000 on they are yours."),
    field("Reason", reason, "The client is sent this text.")] };
}

// closeOne asks and closes one session. It returns whether that was done.
export async function closeOne(s) {
  const c = controls();
  const result = await ask("Close a session", [
    h("dl", { class: "facts" }, h("div", {}, h("dt", {}, "Client"), h("dd", {}, s.client)), h("div", {}, h("dt", {}, "Backend"), h("dd", {}, `${s.pool}/${s.backend}`)),
      h("div", {}, h("dt", {}, "Id"), h("dd", { class: "mono" }, s.id))),
    c.elements,
  ], { action: "Close the session", danger: true, testid: "close-dialog", run: async () => {
    const result = await api.post("/v1/sessions/close", { id: s.id, ...c.body() });
    if (!result.sessions) throw new api.Problem(404, "The session has ended already.");
    return result;
  } });
  if (result) say(`The session of ${s.client} is being closed.`);
  return Boolean(result);
}

// closeMatching asks and closes all sessions that match a filter.
export async function closeMatching(filter) {
  const c = controls();
  const all = !Object.keys(filter).length;
  const rate = h("input", { name: "rate", type: "number", min: 0, step: "any", placeholder: "all at once" });
  const number = h("strong", { role: "status", "data-testid": "matching" }, "Counting…");
  const request = (more) => api.post("/v1/sessions/close", { ...filter, ...(all ? { all: true } : {}), ...more });
  request({ dry_run: true }).then((r) => text(number, `${plural(r.sessions, "session")} ${r.sessions === 1 ? "matches" : "match"} now.`), (error) => text(number, error.message));
  const result = await ask(all ? "Close all sessions" : "Close all sessions that match", [
    h("p", {}, number),
    all ? h("p", { class: "bad" }, "There is no filter: this closes every session of the balancer.")
      : h("dl", { class: "facts" }, Object.entries(filter).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v)))),
    c.elements, field("Sessions per second", rate, "So that not all clients come back in the same moment."),
  ], { action: all ? "Close all sessions" : "Close them", danger: true, testid: "close-all-dialog", run: () => request({ ...c.body(), ...(Number(rate.value) > 0 ? { rate: Number(rate.value) } : {}) }) });
  if (result) say(`${plural(result.sessions, "session")} ${result.sessions === 1 ? "is" : "are"} being closed${result.over_seconds > 0 ? ` within ${seconds(result.over_seconds)}` : ""}.`);
  return Boolean(result);
}
