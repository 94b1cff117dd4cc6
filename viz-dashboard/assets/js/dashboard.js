// A live dashboard: one event stream for the page, a card per chart, filters that make a view of their own.

import { duration, el, getJson, headline, number, table } from "./lib.js";
import { option, Plot } from "./charts.js";

const settings = JSON.parse(document.getElementById("settings").textContent);
const RANGES = [["Last 5 minutes", 5], ["Last 15 minutes", 15], ["Last 30 minutes", 30], ["Last hour", 60], ["Last 3 hours", 180], ["Last 12 hours", 720], ["Last 24 hours", 1440], ["Last 7 days", 10080]]
  .map(([name, minutes]) => [name, `DATEADD(DATETIME("now"), -${minutes}, minute) : now`]).concat([["All time", "No filter"]]);

// === what the viewer has chosen, kept in the address so that a link shows the same ===

const chosen = new URLSearchParams(location.search);
const time = settings.filters.find((filter) => filter.kind === "time");
const query = () => (chosen.size ? `?${chosen}` : "");

function choose(change) {
  change();
  history.replaceState(null, "", location.pathname + query());
  for (const card of cards.values()) card.wait();
  connect();
}

function timeFilter(filter) {
  const now = chosen.get("time") ?? filter.initial ?? "";
  const known = RANGES.some(([, text]) => text === now) ? RANGES : [["As linked", now], ...RANGES];
  const select = el("select", { onchange: (event) => choose(() => chosen.set("time", event.target.value)) },
    ...known.map(([name, text]) => el("option", { value: text, selected: text === now }, name)));
  return el("label", {}, filter.name, select);
}

function valueFilter(filter) {
  const key = `f.${filter.column}`;
  const summary = el("summary");
  const options = el("div", { class: "options" }, "loading");
  const pick = el("details", { class: "pick" }, summary, options);
  const show = () => {
    const values = chosen.getAll(key);
    summary.textContent = values.length ? values.join(", ") : "All";
    summary.setAttribute("aria-label", `${filter.name}: ${summary.textContent}`);
    pick.classList.toggle("chosen", values.length > 0);
  };
  const toggle = (value, on) => choose(() => {
    const rest = chosen.getAll(key).filter((other) => other !== value);
    chosen.delete(key);
    for (const other of on ? [...rest, value] : rest) chosen.append(key, other);
    show();
  });
  // Asked each time: new values appear as data comes.
  pick.addEventListener("toggle", async () => {
    if (!pick.open) return;
    try {
      const values = await getJson(`/api/dashboards/${settings.slug}/filters/${filter.id}`);
      const all = [...new Set([...chosen.getAll(key), ...values.map(String)])].sort();
      options.replaceChildren(...all.map((value) => el("label", {},
        el("input", { type: "checkbox", checked: chosen.getAll(key).includes(value), onchange: (event) => toggle(value, event.target.checked) }), value)),
        el("button", { type: "button", class: "small", onclick: () => { choose(() => { chosen.delete(key); show(); }); pick.open = false; } }, "All"));
    } catch (error) { options.replaceChildren(error.message); }
  });
  show();
  pick.refresh = show;
  return el("div", { class: "pick-box" }, el("div", { class: "pick-name quiet" }, filter.name), pick);
}

document.getElementById("filters").append(...settings.filters.map((filter) => (filter.kind === "time" ? timeFilter(filter) : valueFilter(filter))));

/** A click on a slice or bar is a filter on its column, shown in the filter's box; a second click takes it back. */
function crossFilter(chart, value) {
  const column = chart.params.groupby?.[0] ?? chart.params.x_axis;
  const offered = settings.filters.find((filter) => filter.kind === "select" && filter.column === column);
  if (!offered || value == null) return;
  const key = `f.${column}`;
  choose(() => {
    const has = chosen.getAll(key).includes(value);
    chosen.delete(key);
    if (!has) chosen.append(key, value);
    for (const pick of document.querySelectorAll("details.pick")) pick.refresh();
  });
}

// === cards ===

class Card {
  constructor(box) {
    this.box = box;
    this.id = box.dataset.chart;
    this.chart = settings.charts[this.id];
    this.body = box.querySelector(".body");
    box.style.height = `${box.dataset.height}px`;
    this.asTable = false;
    this.plot = null;
    for (const item of box.querySelectorAll("[data-do]")) item.addEventListener("click", (event) => this.act(event, item));
  }

  async act(event, item) {
    const base = `/api/dashboards/${settings.slug}/charts/${this.id}`;
    if (item.dataset.do === "csv") { item.href = `${base}/data.csv${query()}`; }
    else if (item.dataset.do === "sql") {
      event.preventDefault();
      const response = await fetch(`${base}/sql${query()}`);
      location.href = `/sql?q=${encodeURIComponent(await response.text())}`;
    } else if (item.dataset.do === "table") {
      this.asTable = !this.asTable;
      item.textContent = this.asTable ? "View as chart" : "View as table";
      this.draw();
    } else if (item.dataset.do === "png" && this.plot) {
      el("a", { href: this.plot.png(), download: `${this.chart.name}.png` }).click();
    }
    item.closest("details").open = false;
  }

  wait() { this.box.setAttribute("aria-busy", "true"); }

  take(event) {
    const fresh = this.last != null;
    this.last = event;
    this.box.removeAttribute("aria-busy");
    this.draw();
    if (fresh && this.chart?.viz === "pop_kpi") { this.box.classList.remove("flash"); void this.box.offsetWidth; this.box.classList.add("flash"); }
  }

  draw() {
    const { result, error } = this.last ?? {};
    if (!this.last) return;
    if (!this.chart || error) {
      return this.replace(el("div", { class: "note error" }, el("strong", {}, "Not available"), el("code", {}, error || "the chart's dataset is missing")));
    }
    if (this.asTable || this.chart.viz === "table") return this.replace(el("div", { class: "table-box", tabindex: "0" }, this.table()));
    if (["pop_kpi", "big_number_total"].includes(this.chart.viz)) return this.replace(...this.number());
    if (this.chart.viz === "big_number") return this.trend();
    if (!result.rows.length) return this.replace(el("p", { class: "note" }, "No data in this time range yet"));
    const drawn = option(this.chart, result, this.body.clientWidth);
    if (!drawn) return this.replace(el("div", { class: "table-box", tabindex: "0" }, this.table()));
    if (!this.plot) {
      const box = el("div", { class: "plot", role: "img", "aria-label": this.chart.name });
      this.replace(box);
      this.plot = new Plot(box);
      this.plot.chart.on("click", (point) => crossFilter(this.chart, point.seriesName && this.chart.params.groupby?.length && this.chart.viz.startsWith("echarts_") ? point.seriesName : point.name));
    }
    this.plot.show(drawn);
  }

  table() {
    const { labels, params } = this.chart;
    return table(this.last.result.columns, this.last.result.rows, { look: { labels, formats: params.column_config } });
  }

  replace(...children) {
    this.plot?.close();
    this.plot = null;
    this.body.replaceChildren(...children);
  }

  number() {
    const { params } = this.chart;
    const now = number(this.last.result.rows[0]?.[0]);
    const parts = [el("div", { class: "number", title: now ?? 0 }, headline(now ?? 0, params.y_axis_format))];
    if (this.last.before) {
      const before = number(this.last.before.rows[0]?.[0]) ?? 0;
      const change = before ? ((now ?? 0) - before) / before : null;
      const sign = change == null || Math.abs(change) < 0.0005 ? "" : change > 0 ? "up" : "down";
      const arrow = { up: "▲ ", down: "▼ " }[sign] ?? "";
      parts.push(el("div", { class: "change" }, el("b", { class: sign }, change == null ? "new" : `${arrow}${Math.abs(change * 100).toFixed(Math.abs(change) < 0.1 ? 1 : 0)}%`),
        ` from ${headline(before, params.y_axis_format)}`, el("span", { class: "wide" }, " before")));
    } else parts.push(el("div", { class: "change" }, this.last.young ? "nothing earlier to compare with yet" : params.subheader ?? ""));
    return parts;
  }

  trend() {
    const rows = [...this.last.result.rows].sort((a, b) => String(a[0]).localeCompare(String(b[0])));
    this.replace(el("div", { class: "number", title: rows.at(-1)?.[1] ?? 0 }, headline(rows.at(-1)?.[1] ?? 0, this.chart.params.y_axis_format)), el("div", { class: "change" }, this.chart.params.compare_suffix ?? ""));
  }
}

const cards = new Map([...document.querySelectorAll("[data-chart]")].map((box) => [box.dataset.chart, new Card(box)]));

// === the live stream ===

let stream = null, paused = false, lastEvent = 0, updated = 0;
const dot = document.querySelector("#live .dot"), liveText = document.getElementById("live-text"), foot = document.getElementById("foot");

function connect() {
  stream?.close();
  stream = null;
  if (paused || document.hidden) return status();
  stream = new EventSource(`/api/dashboards/${settings.slug}/live${query()}`);
  stream.addEventListener("chart", (message) => {
    const event = JSON.parse(message.data);
    lastEvent = updated = Date.now();
    cards.get(event.chart)?.take(event);
    foot.textContent = `last query took ${duration(event.took_ms)}`;
    document.body.dataset.drawn = [...cards.values()].filter((card) => card.last).length;
  });
  stream.addEventListener("status", (message) => {
    lastEvent = Date.now();
    const trouble = Object.entries(JSON.parse(message.data).trouble ?? {});
    foot.textContent = trouble.length ? `waiting for ${trouble.map(([name]) => name).join(", ")}` : foot.textContent;
    status();
  });
  stream.onerror = () => status();
}

let said = "";
function status() {
  const open = stream?.readyState === EventSource.OPEN && Date.now() - lastEvent < 30000;
  dot.className = `dot ${paused ? "" : open ? "on" : "bad"}`;
  const age = updated ? Math.round((Date.now() - updated) / 1000) : null;
  const text = paused ? "paused" : !open ? (age == null ? "connecting" : "connection lost, trying again") : age == null ? "live" : age < 3 ? "live, updated now" : `live, updated ${duration(age * 1000)} ago`;
  if (text !== said) liveText.textContent = said = text;
}
setInterval(status, 1000);

const pause = document.getElementById("pause");
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", paused);
  pause.textContent = paused ? "Resume" : "Pause";
  connect();
});
document.addEventListener("visibilitychange", connect);
addEventListener("themechange", () => { for (const card of cards.values()) card.draw(); });
for (const card of cards.values()) card.wait();
connect();
