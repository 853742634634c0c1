// Light and dark: as the system has it, until somebody presses the button.

import { attr, text } from "./dom.js";

const KEY = "holdfast-theme";
const next = { auto: "light", light: "dark", dark: "auto" };
const label = { auto: "Auto", light: "Light", dark: "Dark" };

export function initTheme(button) {
  let theme = "auto";
  try { theme = localStorage.getItem(KEY) ?? "auto"; } catch { /* storage may be forbidden */ }
  if (!Object.hasOwn(next, theme)) theme = "auto";
  const apply = () => {
    attr(document.documentElement, { "data-theme": theme === "auto" ? null : theme });
    text(button, label[theme]);
    attr(button, { "aria-label": `Colours: ${label[theme]}. Change to ${label[next[theme]]}` });
  };
  button.addEventListener("click", () => {
    theme = next[theme];
    try { localStorage.setItem(KEY, theme); } catch { /* then it is for this visit */ }
    apply();
  });
  apply();
}
