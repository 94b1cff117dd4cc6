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

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const three = new Intl.NumberFormat("en", { notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Superset's number formats, as far as they are used: SMART_NUMBER and d3's `$,.2f` family. */
export function format(value, form = "SMART_NUMBER", large = short) {
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
  return Math.abs(as) < 10000 ? whole.format(as) : large.format(as);
}

/** A number that stands alone: always three digits, so that it does not change its width as it grows. */
export const headline = (value, form) => format(value, form, three);

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

/** A span of time that was chosen rather than measured: 5 min, 1 h. */
export function span(ms) {
  const [unit, name] = [[3600000, "h"], [60000, "min"], [1000, "s"]].find(([unit]) => ms >= unit && ms % unit === 0) ?? [1, "ms"];
  return `${ms / unit} ${name}`;
}

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** A cell of a dashboard: times on the viewer's clock (the day only if it is another), numbers grouped or as the chart says. */
export function shown(value, numeric, form) {
  const at = millis(value);
  if (at != null) {
    const time = clock(at);
    return new Date(at).toDateString() === new Date().toDateString() ? time : `${new Date(at).toLocaleDateString("en", { month: "short", day: "numeric" })}, ${time}`;
  }
  if (numeric && number(value) != null) return form ? format(value, form) : plain.format(Number(value));
  return cell(value);
}

/** A cell's text as the engine wrote it, but for empty fractions of seconds. */
export function cell(value) {
  if (value == null) return null;
  if (typeof value === "object") return JSON.stringify(value);
  return String(value).replace(/(\d\d:\d\d:\d\d\.\d*?)0+(?= |$)/, "$1").replace(/(\d\d:\d\d:\d\d)\.(?= |$)/, "$1");
}

/** A table of a result. `types` shows the columns' types; `look` (labels and formats by column) makes it one for reading. */
export function table(columns, rows, { types = false, limit = 1000, look = null } = {}) {
  const numeric = columns.map((column) => isNumeric(column.type));
  const head = el("tr", {}, ...columns.map((column, i) =>
    el("th", { scope: "col", class: numeric[i] ? "n" : null }, look?.labels?.[column.name] ?? column.name, types ? el("small", {}, column.type) : null)));
  const body = el("tbody");
  const box = el("table", { class: "rows" }, el("thead", {}, head), body);
  box.append_rows = (more) => {
    for (const row of more) {
      if (body.rows.length >= limit) break;
      body.append(el("tr", {}, ...row.map((value, i) => {
        const text = look ? shown(value, numeric[i], look.formats?.[columns[i].name]?.d3NumberFormat) : cell(value);
        const title = look && text !== cell(value) ? cell(value) : text && text.length > 60 ? text : null;
        return el("td", { class: [text == null && "null", numeric[i] && "n"].filter(Boolean).join(" ") || null, title }, text ?? (look ? "–" : "null"));
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
