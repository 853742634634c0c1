// Line charts over time, as SVG.

import { attr, h, svg, text } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 132;
const PAD = { left: 46, right: 10, top: 8, bottom: 20 };
const MAX_LINES = 8; // more are added up as "others"
const MAX_GAP = 3; // a line is broken where points are this many times further apart

// Chart draws one value of several series. update(lines, from, to) takes lines of
// {label, values: [[t, value or null], …]}; format makes texts of values.
export class Chart {
  #lines = [];
  #from = 0;
  #to = 1;
  #top = 1;
  #width = 0;
  #svg = svg("svg", { class: "plot", role: "img", height: HEIGHT });
  #grid = svg("g", { class: "grid" });
  #paths = svg("g");
  #cursor = svg("line", { class: "cursor", y1: PAD.top, y2: HEIGHT - PAD.bottom, visibility: "hidden" });
  #legend = h("ul", { class: "legend" });
  #rows = h("tbody");
  #head = h("tr");
  #at = h("span", { class: "soft" });
  #table;
  #hover = null; // time under the pointer

  constructor(title, format, { id } = {}) {
    this.title = title;
    this.format = format;
    this.#svg.append(this.#grid, this.#paths, this.#cursor);
    this.#table = h("details", { class: "values", on: { toggle: () => this.#fill() } }, h("summary", {}, "Values", h("span", { class: "hidden" }, ` of ${title}`)),
      h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": `Values of ${title}` },
        h("table", { class: "plain" }, h("caption", { class: "hidden" }, title), h("thead", {}, this.#head), this.#rows)));
    this.element = h("figure", { class: "chart", "data-testid": id },
      h("figcaption", {}, h("h3", {}, title), this.#at), this.#svg, this.#legend, this.#table);
    this.#svg.addEventListener("pointermove", (e) => this.#point(e));
    this.#svg.addEventListener("pointerleave", () => { this.#hover = null; this.#draw(); });
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width !== this.#width) { this.#width = width; this.#draw(); }
    }).observe(this.element);
  }

  update(lines, from, to) {
    this.#lines = merge(lines);
    this.#from = from;
    this.#to = to;
    this.#draw();
    this.#fill();
  }

  #x(t) { return PAD.left + (this.#width - PAD.left - PAD.right) * (t - this.#from) / (this.#to - this.#from); }
  #y(v) { return PAD.top + (HEIGHT - PAD.top - PAD.bottom) * (1 - v / this.#top); }

  #draw() {
    if (this.#width < 80) return;
    attr(this.#svg, { width: this.#width, viewBox: `0 0 ${this.#width} ${HEIGHT}` });
    let most = 0;
    for (const l of this.#lines) for (const [, v] of l.values) if (v > most) most = v;
    const step = niceStep(most / 3);
    this.#top = step * Math.max(1, Math.ceil(most / step));
    this.#drawGrid(step);
    this.#drawLines();
    this.#drawLegend();
    attr(this.#svg, { "aria-label": this.#words() });
  }

  #drawGrid(step) {
    const parts = [];
    for (let v = 0; v <= this.#top + step / 2; v += step) {
      const y = Math.round(this.#y(v)) + 0.5;
      parts.push(svg("line", { x1: PAD.left, x2: this.#width - PAD.right, y1: y, y2: y }));
      parts.push(svg("text", { x: PAD.left - 6, y: y + 4, "text-anchor": "end" }, this.format(v)));
    }
    const minutes = (this.#to - this.#from) / 60000;
    for (const [part, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      const t = this.#from + part * (this.#to - this.#from);
      const ago = minutes * (1 - part);
      parts.push(svg("text", { x: this.#x(t), y: HEIGHT - 5, "text-anchor": anchor }, ago === 0 ? "now" : ago < 1 ? `−${ago * 60} s` : `−${ago} min`));
    }
    this.#grid.replaceChildren(...parts);
  }

  #drawLines() {
    while (this.#paths.childElementCount > this.#lines.length) this.#paths.lastChild.remove();
    this.#lines.forEach((l, i) => {
      const p = this.#paths.children[i] ?? this.#paths.appendChild(svg("path", { class: `line c${i}` }));
      attr(p, { d: this.#path(l.values) });
    });
    const at = this.#hover;
    attr(this.#cursor, at === null ? { visibility: "hidden" } : { visibility: "visible", x1: this.#x(at), x2: this.#x(at) });
  }

  #path(values) {
    const gaps = values.slice(1).map(([t], i) => t - values[i][0]).sort((a, b) => a - b);
    const usual = gaps[gaps.length >> 1] ?? Infinity;
    let d = "";
    let before = null;
    for (const [t, v] of values) {
      if (v !== null) {
        const joined = before !== null && t - before <= usual * MAX_GAP;
        d += `${joined ? "L" : "M"}${this.#x(t).toFixed(1)} ${this.#y(v).toFixed(1)}`;
        if (!joined) d += "h0.01"; // a single point is a dot
      }
      before = v === null ? null : t;
    }
    return d;
  }

  #drawLegend() {
    while (this.#legend.childElementCount > this.#lines.length) this.#legend.lastChild.remove();
    this.#lines.forEach((l, i) => {
      let item = this.#legend.children[i];
      if (!item) {
        item = h("li", {}, svg("svg", { class: "swatch", viewBox: "0 0 16 4", "aria-hidden": "true" }, svg("path", { class: `line c${i}`, d: "M1 2H15" })),
          h("span", { class: "name" }), h("b", {}));
        this.#legend.append(item);
      }
      text(item.children[1], l.label);
      text(item.children[2], this.#value(l, this.#hover));
    });
    text(this.#at, this.#hover === null ? "" : `at ${clock(this.#hover)}`);
  }

  // #value is the text of the last value, or of the one at a time.
  #value(line, at = null) {
    const point = at === null ? line.values.at(-1) : nearest(line.values, at);
    return point && point[1] !== null ? this.format(point[1]) : "–";
  }

  // #words says in words what the picture shows.
  #words() {
    const minutes = Math.round((this.#to - this.#from) / 60000);
    const each = this.#lines.map((l) => {
      const all = l.values.map(([, v]) => v).filter((v) => v !== null);
      if (!all.length) return `${l.label}: no values yet`;
      return `${l.label}: now ${this.format(all.at(-1))}, lowest ${this.format(Math.min(...all))}, highest ${this.format(Math.max(...all))}`;
    });
    return `${this.title} in the last ${minutes} ${minutes === 1 ? "minute" : "minutes"}. ${each.length ? each.join(". ") : "None"}.`;
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    const t = this.#from + (event.clientX - box.left - PAD.left) / (this.#width - PAD.left - PAD.right) * (this.#to - this.#from);
    const point = nearest(this.#lines.flatMap((l) => l.values), t);
    this.#hover = point ? point[0] : null;
    this.#draw();
  }

  // #fill fills the table with the last points, if it is open.
  #fill() {
    if (!this.#table.open) return;
    const times = (this.#lines[0]?.values ?? []).map(([t]) => t).slice(-15).reverse();
    this.#head.replaceChildren(h("th", { scope: "col" }, "Time"), ...this.#lines.map((l) => h("th", { scope: "col" }, l.label)));
    this.#rows.replaceChildren(...times.map((t) => h("tr", {}, h("th", { scope: "row" }, clock(t)),
      this.#lines.map((l) => h("td", {}, this.#value(l, t))))));
  }
}

function nearest(values, t) {
  let best = null;
  for (const p of values) if (best === null || Math.abs(p[0] - t) < Math.abs(best[0] - t)) best = p;
  return best;
}

// merge adds up the lines that are too many, the smallest ones.
function merge(lines) {
  if (lines.length <= MAX_LINES) return lines;
  const size = (l) => l.values.reduce((s, [, v]) => s + (v ?? 0), 0);
  const kept = [...lines].sort((a, b) => size(b) - size(a)).slice(0, MAX_LINES - 1);
  const sums = new Map();
  const rest = lines.filter((l) => !kept.includes(l));
  for (const l of rest) for (const [t, v] of l.values) if (v !== null) sums.set(t, (sums.get(t) ?? 0) + v);
  return [...lines.filter((l) => kept.includes(l)),
    { label: `${rest.length} others`, values: [...sums].sort((a, b) => a[0] - b[0]) }];
}

// niceStep returns 1, 2 or 5 times a power of ten, at least min.
export function niceStep(min) {
  if (!(min > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(min));
  return [1, 2, 5, 10].map((n) => n * power).find((s) => s >= min * 0.999);
}

// Spark is a small line without axes. The number beside it says the same.
export class Spark {
  #path = svg("path", { class: "line c0" });
  constructor() {
    this.element = svg("svg", { class: "spark", viewBox: "0 0 60 18", preserveAspectRatio: "none", "aria-hidden": "true" }, this.#path);
  }

  update(values, from, to) {
    const most = Math.max(1, ...values.map(([, v]) => v));
    attr(this.#path, { d: values.map(([t, v], i) =>
      `${i ? "L" : "M"}${(60 * (t - from) / (to - from)).toFixed(1)} ${(17 - 16 * v / most).toFixed(1)}`).join("") });
  }
}
