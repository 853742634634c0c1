"use strict";
// The search, the index on small screens, and buttons that copy examples.

const form = document.getElementById("search");
const input = form.querySelector("input");
const results = document.getElementById("results");
const count = document.getElementById("count");
const most = 20;
let selected = -1;
let loading;

// load reads the index when it is first needed.
function load() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "search.js";
    script.onload = () => done(window.searchIndex.map((s) => ({
      ...s, heading: (s.h || s.t).toLowerCase(), title: s.t.toLowerCase(), text: s.x.toLowerCase(),
    })));
    script.onerror = failed;
    document.head.append(script);
  });
  return loading;
}

// score is 0 for a section that doesn't have all words. A word in a heading counts most.
function score(section, words) {
  let sum = 0;
  for (const word of words) {
    let n = 0;
    if (section.heading.includes(word)) n += section.heading.startsWith(word) ? 60 : 40;
    if (section.title.includes(word)) n += 15;
    for (let at = section.text.indexOf(word), times = 0; at >= 0 && times < 5; at = section.text.indexOf(word, at + 1), times++) n += 3;
    if (n === 0) return 0;
    sum += n;
  }
  return sum;
}

// excerpt is the part of a section around the first word, with all words marked.
function excerpt(section, words) {
  const at = Math.max(0, section.text.indexOf(words[0]) - 50);
  const text = (at > 0 ? "…" : "") + section.x.slice(at, at + 160) + (section.x.length > at + 160 ? "…" : "");
  const small = document.createElement("small");
  let rest = text;
  for (;;) {
    const low = rest.toLowerCase();
    const next = words.map((w) => [low.indexOf(w), w]).filter(([i]) => i >= 0).sort((a, b) => a[0] - b[0])[0];
    if (!next) break;
    const mark = document.createElement("mark");
    mark.textContent = rest.slice(next[0], next[0] + next[1].length);
    small.append(rest.slice(0, next[0]), mark);
    rest = rest.slice(next[0] + next[1].length);
  }
  small.append(rest);
  return small;
}

async function search() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return close();
  const sections = await load();
  const found = sections.map((s) => [score(s, words), s]).filter(([n]) => n > 0).sort((a, b) => b[0] - a[0]);
  results.replaceChildren(...found.slice(0, most).map(([, s], i) => {
    const a = document.createElement("a");
    a.href = s.p;
    a.id = "result" + i;
    a.setAttribute("role", "option");
    const b = document.createElement("b");
    b.textContent = s.h && s.h !== s.t ? s.t + " › " + s.h : s.t;
    a.append(b, excerpt(s, words));
    return a;
  }));
  if (found.length === 0) {
    const p = document.createElement("p");
    p.className = "none";
    p.textContent = "Nothing found.";
    results.append(p);
  }
  count.textContent = found.length === 1 ? "1 section found" : found.length + " sections found";
  results.hidden = false;
  input.setAttribute("aria-expanded", "true");
  select(found.length > 0 ? 0 : -1);
}

function select(n) {
  const all = results.querySelectorAll("a");
  selected = all.length === 0 ? -1 : (n + all.length) % all.length;
  all.forEach((a, i) => a.setAttribute("aria-selected", i === selected));
  if (selected < 0) return input.removeAttribute("aria-activedescendant");
  input.setAttribute("aria-activedescendant", all[selected].id);
  all[selected].scrollIntoView({ block: "nearest" });
}

function close() {
  results.hidden = true;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

input.addEventListener("input", search);
input.addEventListener("focus", load);
input.addEventListener("keydown", (e) => {
  if (e.key === "ArrowDown" || e.key === "ArrowUp") {
    e.preventDefault();
    select(selected + (e.key === "ArrowDown" ? 1 : -1));
  } else if (e.key === "Escape") {
    close();
  }
});
form.addEventListener("submit", (e) => {
  e.preventDefault();
  const chosen = results.querySelectorAll("a")[selected];
  if (chosen && !results.hidden) location.href = chosen.href;
  close();
});
document.addEventListener("click", (e) => { if (!form.contains(e.target)) close(); });
results.addEventListener("click", close);
document.addEventListener("keydown", (e) => {
  if (e.key === "/" && !e.ctrlKey && !e.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    e.preventDefault();
    input.focus();
  }
});

const menu = document.getElementById("menu");
menu.addEventListener("click", () => {
  const open = document.getElementById("index").classList.toggle("open");
  menu.setAttribute("aria-expanded", open);
});

for (const pre of document.querySelectorAll("main pre")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  if (navigator.clipboard) pre.append(button);
}
