// All that is known of one session, live.

import { button, h, Keyed, text } from "../../dom.js";
import * as api from "../../api.js";
import { open, showProblem } from "../../dialog.js";
import { bytes, count, seconds, when } from "../../format.js";
import { closeOne } from "./close.js";

const AGAIN = 2000; // ms

// details shows a session until its dialog is closed. ended is called if it was closed here.
export function details(s, ended) {
  const facts = new Keyed(h("dl", { class: "facts", "data-testid": "session-facts" }), () => {
    const name = h("dt", {});
    const value = h("dd", {});
    return { element: h("div", {}, name, value), update: (f) => { text(name, f[0]); text(value, f[1]); } };
  });
  const problem = h("div", { class: "problem", role: "alert" });
  const end = button("Close the session…", async () => {
    dialog.close();
    if (await closeOne(s)) ended();
  }, { class: "danger" });
  const dismiss = button("Done", () => dialog.close());
  let timer = 0;
  const dialog = open("Session", [facts.parent, problem, h("div", { class: "actions" }, dismiss, end)], { wide: true, testid: "details-dialog", onclose: () => clearTimeout(timer) });
  dismiss.focus();
  show(s);
  timer = setTimeout(again, AGAIN);

  async function again() {
    try {
      if (!document.hidden) show(s = await api.get(api.path("sessions", s.id)));
      problem.replaceChildren();
    } catch (error) {
      if (error.status === 404) {
        showProblem(problem, { message: "The session has ended. The log has the cause, in the line \"session closed\" with this id." });
        return;
      }
      showProblem(problem, error);
    }
    if (dialog.element.isConnected) timer = setTimeout(again, AGAIN);
  }

  function show(s) {
    const side = (t) => `${count(t.messages)} messages, ${bytes(t.bytes)}`;
    facts.update([
      ["Id", s.id], ["Client", s.client], ["Route", s.route || "everything"], ["Backend", `${s.pool}/${s.backend}`],
      ["Opened", when(s.opened)], ["Age", seconds(s.age_seconds)], ["Since the last message", seconds(s.idle_seconds)],
      ["From the client", side(s.from_client)], ["From the backend", side(s.from_backend)],
      ...Object.entries(s.claims ?? {}).map(([k, v]) => [`Claim ${k}`, v]),
    ], (f) => f[0]);
  }
}
