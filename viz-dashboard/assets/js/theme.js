// Light or dark before anything is drawn: the saved choice, else what the system prefers. Classic script, so it blocks.
(function () {
  const saved = localStorage.getItem("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    dispatchEvent(new CustomEvent("themechange", { detail: theme }));
  };
  apply(saved || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => localStorage.getItem("theme") || apply(dark.matches ? "dark" : "light"));
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      localStorage.setItem("theme", next);
      apply(next);
    });
    // A menu closes when something else is clicked, or by Escape.
    addEventListener("click", (event) => {
      for (const open of document.querySelectorAll("details.menu[open], details.pick[open]"))
        if (!open.contains(event.target)) open.open = false;
    });
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      for (const open of document.querySelectorAll("details.menu[open], details.pick[open]")) {
        open.open = false;
        open.querySelector("summary").focus();
      }
    });
  });
})();
