// Dialogs. They are <dialog> elements, modal: the rest of the page is inert, Esc closes
// them, and the focus returns to where it was.

import { attr, enable, h, text } from "./dom.js";

let number = 0;

// open shows a dialog with a title and content, and returns {element, close}. onclose is
// called when it has gone.
export function open(title, content, { onclose, wide = false, testid } = {}) {
  const id = `dialog-${++number}`;
  const element = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": id, "data-testid": testid },
    h("h2", { id }, title), content);
  const before = document.activeElement;
  element.addEventListener("close", () => {
    element.remove();
    if (before?.isConnected) before.focus();
    else document.getElementById("main").focus();
    onclose?.();
  });
  // At the end of the dialog, Tab would leave the page.
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Tab") return;
    const all = [...element.querySelectorAll("button, input, select, textarea, a[href], summary, [tabindex='0']")]
      .filter((e) => !e.disabled && e.checkVisibility());
    const edge = event.shiftKey ? all[0] : all.at(-1);
    if (document.activeElement === edge || !element.contains(document.activeElement)) {
      event.preventDefault();
      (event.shiftKey ? all.at(-1) : all[0])?.focus();
    }
  });
  document.body.append(element);
  element.showModal();
  return { element, close: () => element.close() };
}

// field makes a labelled input. control is an input, a select or a textarea.
export function field(label, control, hint = "") {
  control.id ||= `field-${++number}`;
  const parts = [h("label", { for: control.id }, label), control];
  if (hint) {
    const id = `${control.id}-hint`;
    parts.push(h("small", { id, class: "soft" }, hint));
    attr(control, { "aria-describedby": id });
  }
  return h("div", { class: "field" }, parts);
}

// ask shows a dialog with a form. do() is called when the form is sent; while it runs, the
// form can't be sent again. If it throws, the text is shown and the dialog stays. ask returns
// a promise of what do returned, or of undefined if the dialog was closed.
export function ask(title, content, { action, danger = false, cancel = "Cancel", run, testid }) {
  return new Promise((resolve) => {
    let result;
    const problem = h("div", { class: "problem", role: "alert", "data-testid": "problem" });
    const go = h("button", { type: "submit", class: danger ? "danger" : "primary", "data-testid": "confirm" }, action);
    const no = h("button", { type: "button", on: { click: () => dialog.close() } }, cancel);
    const form = h("form", { method: "dialog", noValidate: true }, content, problem, h("div", { class: "actions" }, no, go));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (go.getAttribute("aria-disabled") === "true") return;
      enable(go, false);
      text(problem, "");
      try {
        result = await run();
        dialog.close();
      } catch (error) {
        showProblem(problem, error, form);
        enable(go, true);
      }
    });
    const dialog = open(title, form, { testid, onclose: () => resolve(result) });
    // What is asked comes first; without fields, the button that changes nothing.
    (form.querySelector("input, select, textarea") ?? no).focus();
  });
}

// showProblem shows an error, and marks the field that it names.
export function showProblem(where, error, form) {
  where.replaceChildren(h("p", {}, error.message),
    ...(error.errors?.length ? [h("ul", {}, error.errors.map((line) => h("li", {}, line)))] : []));
  for (const e of form?.querySelectorAll("[name]") ?? []) {
    const wrong = Boolean(error.field) && e.name === error.field;
    attr(e, { "aria-invalid": wrong ? "true" : null });
    if (wrong) e.focus();
  }
}
