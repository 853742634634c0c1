// What was changed at run time, and so differs from the configuration.

import { button, h, Keyed, row, table, text } from "../dom.js";
import * as api from "../api.js";
import { ask, showProblem } from "../dialog.js";
import { say } from "../announce.js";
import { plural, when } from "../format.js";
import { refresh, store } from "../store.js";

const columns = [
  { name: "backend", label: "Backend" },
  { name: "field", label: "What" },
  { name: "file", label: "By the file" },
  { name: "now", label: "Now" },
  { name: "since", label: "Since" },
  { name: "actions", label: "Actions", class: "actions" },
];

const fieldWords = { added: "added", removed: "removed", weight: "weight", max_sessions: "max_sessions", admin: "state" };

export function changes() {
  const list = table("Changes at run time", columns, { id: "changes" });
  const problem = h("div", { class: "problem", role: "alert" });
  const none = h("p", { class: "soft", "data-testid": "no-changes" }, "Everything is as the configuration has it.");
  const all = button("Revert all…", () => revert("", "", `${plural(shown.length, "change")} of all pools`));
  let shown = [];
  let known = -1;

  const rows = new Keyed(list.body, (c) => {
    const { element, cells } = row(columns, "backend", { "data-testid": "change" });
    const name = `${c.pool}/${c.backend}`;
    const trouble = h("p", { class: "bad" });
    cells.backend.append(h("a", { href: `#backends?pool=${encodeURIComponent(c.pool)}` }, name), trouble);
    cells.actions.append(button("Revert…", () => revert(c.pool, c.backend, `what was changed of ${name}`), { "aria-label": `Revert the changes of ${name}` }));
    return { element, update: (c) => {
      text(trouble, c.problem ?? "");
      trouble.hidden = !c.problem;
      text(cells.field, fieldWords[c.field] ?? c.field);
      text(cells.file, c.file || "–");
      text(cells.now, c.now || "–");
      text(cells.since, when(c.since));
    } };
  });

  async function revert(pool, backend, what) {
    const done = await ask("Revert to the configuration", [
      h("p", {}, `This undoes ${what}, as if the configuration were loaded for the first time. A backend that was added is removed, and its sessions are drained.`),
    ], { action: "Revert", testid: "revert", run: async () => {
      await api.del(api.path("changes", ...[pool, backend].filter(Boolean)));
      return true;
    } });
    if (!done) return;
    say(`Reverted: ${what}.`);
    known = -1;
    refresh();
  }

  // The status has the number of changes, so that they are asked for only then.
  async function update() {
    if (known === store.status.changes && Date.now() - asked < 10_000) return;
    known = store.status.changes;
    asked = Date.now();
    try {
      shown = await api.get("/v1/changes") ?? [];
      problem.replaceChildren();
    } catch (error) {
      known = -1;
      showProblem(problem, error);
      return;
    }
    rows.update(shown, (c) => JSON.stringify([c.pool, c.backend, c.field]));
    none.hidden = shown.length > 0;
    list.element.hidden = all.hidden = !shown.length;
  }
  let asked = 0;

  const element = h("div", { class: "view" }, h("h1", { class: "hidden" }, "Changes"),
    h("section", { class: "card", "aria-labelledby": "changes-title" },
      h("div", { class: "bar" }, h("h2", { id: "changes-title" }, "Changes at run time"), all),
      h("p", { class: "soft" }, "These were made on this page, by the command line or by the API. They outlive reloads and restarts, until they are reverted or the configuration says the same."),
      problem, none, list.element));
  none.hidden = list.element.hidden = all.hidden = true;
  return { element, show: () => { known = -1; }, update };
}
