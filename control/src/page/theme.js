// The theme. Not a module, and loaded before anything is painted: a remembered choice must not flash.
"use strict";
(() => {
  const WORDS = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const KEY = "bowline.theme";

  /** What was chosen last time. A browser may forbid to look, or hold something that was never ours. */
  function remembered() {
    try {
      const kept = localStorage.getItem(KEY);
      return Object.hasOwn(WORDS, kept ?? "") ? kept : "system";
    } catch {
      return "system";
    }
  }

  let theme = remembered();

  function use() {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }

  use();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.textContent = WORDS[theme];
    button.addEventListener("click", () => {
      theme = NEXT[theme];
      use();
      button.textContent = WORDS[theme];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // It holds until the page is closed.
      }
    });
  });
})();
