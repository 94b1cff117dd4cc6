// Small things all pages need: elements, numbers, times, tables, requests.

/** An element with attributes and children; text is always set as text, never as HTML. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export async function getJson(url, options) {
  const response = await fetch(url, options);
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `${response.status} ${response.statusText}`);
  return body;
}

const TIME = /^\d{4}-\d\d-\d\d[ T]\d\d:\d\d/;

/** Milliseconds of a Trino timestamp, which is UTC here; null if it is none. */
export function millis(value) {
  if (typeof value !== "string" || !TIME.test(value)) return null;
  const plain = value.replace(" UTC", "").replace(" ", "T").replace(/(\.\d{3})\d+/, "$1");
  const at = Date.parse(/[zZ]|[+-]\d\d:\d\d$/.test(plain) ? plain : plain + "Z");
  return Number.isNaN(at) ? null : at;
}

/** Trino sends decimals as text and doubles as numbers; both are numbers to a chart. */
export function number(value) {
  if (value == null || value === "") return null;
  const as = Number(value);
  return Number.isFinite(as) ? as : null;
}

export const isNumeric = (type) => /^(tinyint|smallint|integer|bigint|real|double|decimal)/.test(type);

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Superset's number formats, as far as they are used: SMART_NUMBER and d3's `$,.2f` family. */
export function format(value, form = "SMART_NUMBER") {
  const as = number(value);
  if (as == null) return "–";
  const d3 = /^(\$?)(,?)(?:\.(\d))?([f%])$/.exec(form || "");
  if (d3) {
    const [, currency, comma, digits, kind] = d3;
    const text = new Intl.NumberFormat("en", {
      minimumFractionDigits: Number(digits || 0), maximumFractionDigits: Number(digits || 0),
      useGrouping: comma === ",", style: kind === "%" ? "percent" : "decimal",
    }).format(as);
    return currency + text;
  }
  if (Math.abs(as) < 1000 && !Number.isInteger(as)) return String(Math.round(as * 100) / 100);
  return Math.abs(as) < 10000 ? whole.format(as) : short.format(as);
}

export const count = (value) => (value == null ? "–" : whole.format(value));

export function bytes(value) {
  if (value == null) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0;
  while (value >= 1000 && i < units.length - 1) { value /= 1000; i++; }
  return `${value >= 100 || i === 0 ? Math.round(value) : value.toFixed(1)} ${units[i]}`;
}

export function duration(ms) {
  if (ms == null) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

/** A cell's text: times in the viewer's zone and without empty fractions. */
export function cell(value) {
  if (value == null) return null;
  if (typeof value === "object") return JSON.stringify(value);
  return String(value).replace(/(\d\d:\d\d:\d\d\.\d*?)0+(?= |$)/, "$1").replace(/(\d\d:\d\d:\d\d)\.(?= |$)/, "$1");
}

/** A table of a result. `types` shows the columns' types. */
export function table(columns, rows, { types = false, limit = 1000 } = {}) {
  const numeric = columns.map((column) => isNumeric(column.type));
  const head = el("tr", {}, ...columns.map((column, i) =>
    el("th", { scope: "col", class: numeric[i] ? "n" : null }, column.name, types ? el("small", {}, column.type) : null)));
  const body = el("tbody");
  const box = el("table", { class: "rows" }, el("thead", {}, head), body);
  box.append_rows = (more) => {
    for (const row of more) {
      if (body.rows.length >= limit) break;
      body.append(el("tr", {}, ...row.map((value, i) => {
        const text = cell(value);
        return el("td", { class: text == null ? "null" : numeric[i] ? "n" : null, title: text && text.length > 60 ? text : null }, text ?? "null");
      })));
    }
  };
  box.append_rows(rows);
  return box;
}

/** Tabs by click and by arrow keys; calls `shown` with the id of the panel. */
export function tabs(list, shown = () => {}) {
  const all = [...list.querySelectorAll("[role=tab]")];
  const choose = (tab) => {
    for (const other of all) {
      const on = other === tab;
      other.setAttribute("aria-selected", on);
      other.tabIndex = on ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
    }
    shown(tab.getAttribute("aria-controls"));
  };
  for (const [i, tab] of all.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = all[(i + step + all.length) % all.length];
      next.focus();
      choose(next);
    });
  }
  return (id) => choose(all.find((tab) => tab.getAttribute("aria-controls") === id));
}
