// Elements. Whatever comes from the balancer is put into the page as text: nothing here
// reads HTML, and the page's policy forbids it.

// h makes an element. Of props, "class", "for", "role", aria-* and data-* are attributes;
// "on" has listeners by event; the others are properties. Children are nodes or texts;
// null and false are left out.
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "on") for (const [event, f] of Object.entries(value)) e.addEventListener(event, f);
    else if (/^(class|for|role|list|aria-.*|data-.*)$/.test(name)) e.setAttribute(name, value);
    else e[name] = value;
  }
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

export function svg(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  attr(e, attributes);
  e.append(...children);
  return e;
}

// attr sets the attributes that have changed; null removes one.
export function attr(e, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) {
      if (e.hasAttribute(name)) e.removeAttribute(name);
    } else if (e.getAttribute(name) !== String(value)) e.setAttribute(name, String(value));
  }
  return e;
}

// text sets the text of an element if it is another one, so that nothing is drawn or read
// again without a reason.
export function text(e, value) {
  const want = String(value ?? "");
  if (e.textContent !== want) e.textContent = want;
  return e;
}

// Keyed keeps the children of an element in step with a list. Each item has a key; its part
// is made once and updated in place, so that the focus and a selection stay where they are.
export class Keyed {
  #make;
  #parts = new Map();

  // make(item) returns {element, update(item)}.
  constructor(parent, make) {
    this.parent = parent;
    this.#make = make;
  }

  update(items, keyOf) {
    const wanted = new Map(items.map((item) => [keyOf(item), item]));
    // First, as then nothing has to change its place, which would take the focus away.
    for (const [key, part] of this.#parts) {
      if (wanted.has(key)) continue;
      this.#parts.delete(key);
      remove(part.element);
    }
    let at = this.parent.firstElementChild;
    for (const [key, item] of wanted) {
      let part = this.#parts.get(key);
      if (!part) this.#parts.set(key, part = this.#make(item));
      part.update(item);
      if (part.element === at) at = at.nextElementSibling;
      else this.parent.insertBefore(part.element, at);
    }
  }
}

// remove removes an element. If it has the focus, something near it gets it.
function remove(e) {
  const near = e.nextElementSibling ?? e.previousElementSibling;
  const focused = e.contains(document.activeElement);
  e.remove();
  if (focused) (near?.querySelector("button:not([hidden]), a") ?? document.getElementById("main")).focus();
}

// table makes a table with a caption and columns {name, label, class}. On narrow screens
// each row becomes a block, which is why the roles are written out: browsers drop those of
// tables that aren't displayed as tables.
export function table(caption, columns, { id, kind = "" } = {}) {
  const body = h("tbody", { role: "rowgroup" });
  const element = h("table", { role: "table", class: `data ${kind}`, id },
    h("caption", { class: "hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((c) =>
      h("th", { role: "columnheader", scope: "col", class: `${c.class ?? ""} c-${c.name}` }, c.label)))),
    body);
  return { element, body };
}

// row makes a row of such a table. cells has an element or text for each column, by name;
// it returns the cells by name, too.
export function row(columns, head, props = {}) {
  const cells = {};
  const element = h("tr", { role: "row", ...props });
  for (const c of columns) {
    const cell = c.name === head
      ? h("th", { role: "rowheader", scope: "row", class: c.class, "data-label": c.label })
      : h("td", { role: "cell", class: c.class, "data-label": c.label });
    cells[c.name] = cell;
    element.append(cell);
  }
  return { element, cells };
}

// button makes a button. enable(b, false) keeps it focusable: a disabled button would lose
// the focus while its state changes.
export function button(label, onclick, props = {}) {
  return h("button", { type: "button", ...props, on: { click: (event) => {
    if (event.currentTarget.getAttribute("aria-disabled") !== "true") onclick(event);
  } } }, label);
}

export function enable(b, can, why = "") {
  attr(b, { "aria-disabled": can ? null : "true", title: can ? null : why || null });
}

export function badge(state, label = state) {
  return h("span", { class: "badge", "data-state": state }, label);
}

export function setBadge(e, state, label = state) {
  attr(e, { "data-state": state });
  text(e, label);
}

// pair is a control with its label beside it. The control must have an id.
export function pair(label, control) {
  return h("span", { class: "pair" }, h("label", { for: control.id }, label), control);
}
