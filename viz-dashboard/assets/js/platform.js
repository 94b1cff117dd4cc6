// The platform page: services, jobs with their graphs, tables, topics; each part asks for itself.

import { bytes, clock, count, duration, el, getJson, millis } from "./lib.js";
import { base } from "./charts.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const svg = (name, attributes, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

/** Asks again and again, each time only after the answer, and not while the page is hidden. */
function every(ms, url, draw, box) {
  const turn = async () => {
    if (!document.hidden) {
      try { draw(await getJson(url)); }
      catch (error) { box.replaceChildren(el("p", { class: "quiet pad" }, error.message)); }
    }
    setTimeout(turn, ms);
  };
  turn();
}

// === services ===

const STATE = { ready: ["up", "ready"], "not ready": ["", "not ready"], down: ["down", "down"] };
every(3000, "/api/platform/services", ({ services }) => {
  $("services").replaceChildren(...services.map((service) => {
    const [sign, text] = STATE[service.state];
    return el("div", { class: "card tile" }, el("span", { class: `dot ${sign === "up" ? "on" : sign === "down" ? "bad" : ""}`, "aria-hidden": "true" }),
      el("strong", {}, service.name), el("span", { class: "quiet" }, service.role),
      el("span", { class: `quiet ${sign}`, title: service.detail }, `${text}${service.state === "ready" ? ` · ${duration(service.answered_ms)}` : ""}`), el("span", { class: "quiet" }, service.url));
  }));
}, $("services"));

// === jobs ===

const before = new Map(); // operator -> [time, records in, records out]
const plots = new Map(); // job -> chart

/** A rate from Flink's own metric, else from two counts. */
function rate(job, operator) {
  const key = job.id + operator.id, now = Date.now();
  const last = before.get(key);
  before.set(key, [now, operator.records_in, operator.records_out]);
  const own = (name, i, value) => operator.metrics[name] ?? (last && now > last[0] ? Math.max(0, ((value - last[i]) * 1000) / (now - last[0])) : null);
  return [own("numRecordsInPerSecond", 1, operator.records_in), own("numRecordsOutPerSecond", 2, operator.records_out)];
}

const W = 246, H = 84, GX = 56, GY = 18;

/** Operators in layers by their longest way from a source. */
function graph(job) {
  const depth = new Map(job.operators.map((operator) => [operator.id, 0]));
  for (let i = 0; i < job.operators.length; i++)
    for (const [from, to] of job.edges) depth.set(to, Math.max(depth.get(to) ?? 0, (depth.get(from) ?? 0) + 1));
  const layers = [];
  for (const operator of job.operators) (layers[depth.get(operator.id)] ??= []).push(operator);
  const tallest = Math.max(...layers.map((layer) => layer?.length ?? 0), 1);
  const at = new Map();
  layers.forEach((layer, x) => layer?.forEach((operator, y) => at.set(operator.id, [x * (W + GX), (y + (tallest - layer.length) / 2) * (H + GY)])));
  const marker = svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0 8 4 0 8z" }));
  const box = svg("svg", { width: layers.length * (W + GX) - GX + 4, height: tallest * (H + GY), role: "img", "aria-label": `Operator graph of ${job.name}` }, svg("defs", {}, marker));
  for (const [from, to] of job.edges) {
    if (!at.has(from) || !at.has(to)) continue;
    const [x1, y1] = at.get(from), [x2, y2] = at.get(to);
    const [a, b, c, d] = [x1 + W, y1 + H / 2, x2, y2 + H / 2];
    box.append(svg("path", { d: `M${a} ${b} C${a + GX / 2} ${b} ${c - GX / 2} ${d} ${c - 1} ${d}`, "marker-end": "url(#tip)" }));
  }
  for (const operator of job.operators) {
    const [x, y] = at.get(operator.id);
    const [rateIn, rateOut] = rate(job, operator);
    const per = (value) => (value == null ? "–" : `${count(Math.round(value))}/s`);
    const lines = [`×${operator.parallelism} · in ${per(rateIn)} · out ${per(rateOut)}`];
    const watermark = operator.watermark_ms ? `watermark ${clock(operator.watermark_ms)} (−${duration(Date.now() - operator.watermark_ms)})` : null;
    const lag = operator.metrics.pendingRecords != null ? `lag ${count(operator.metrics.pendingRecords)}` : null;
    const late = operator.metrics.numLateRecordsDropped ? `late ${count(operator.metrics.numLateRecordsDropped)}` : null;
    lines.push([watermark, lag, late].filter(Boolean).join(" · "));
    const name = operator.name.length > 30 ? `${operator.name.slice(0, 29)}…` : operator.name;
    const title = svg("title", {}, operator.name);
    const group = svg("g", { class: operator.state.toLowerCase(), transform: `translate(${x},${y})` }, title, svg("rect", { x: 0.5, y: 0.5, width: W, height: H - 2, rx: 10 }), svg("text", { x: 12, y: 24, "font-weight": 600 }, name));
    lines.forEach((line, i) => group.append(svg("text", { x: 12, y: 46 + i * 19, class: "sub" }, line)));
    box.append(group);
  }
  return box;
}

function checkpoints(job, box) {
  const history = [...(job.checkpoints?.history ?? [])].reverse();
  if (!history.length) return;
  let plot = plots.get(job.id);
  if (!plot || plot.getDom() !== box) { plot?.dispose(); plots.set(job.id, (plot = echarts.init(box))); }
  const style = getComputedStyle(document.documentElement), quiet = style.getPropertyValue("--quiet").trim(), bad = style.getPropertyValue("--bad").trim();
  plot.setOption({
    ...base(), animation: false, grid: { left: 4, right: 4, top: 10, bottom: 2, outerBoundsMode: "same" }, tooltip: { ...base().tooltip, trigger: "axis", valueFormatter: duration },
    xAxis: { type: "category", data: history.map((one) => `#${one.id}`), axisLabel: { color: quiet, fontSize: 10 }, axisTick: { show: false } },
    yAxis: { type: "value", splitNumber: 2, axisLabel: { color: quiet, fontSize: 10, formatter: duration }, splitLine: { show: false } },
    series: [{ type: "bar", name: "took", barMaxWidth: 14, data: history.map((one) => ({ value: one.took_ms, itemStyle: one.status === "FAILED" ? { color: bad } : {} })) }],
  });
}

every(3000, "/api/platform/jobs", ({ jobs }) => {
  const scrolled = [...document.querySelectorAll(".graph")].map((box) => box.scrollLeft);
  if (!jobs.length) return $("jobs").replaceChildren(el("p", { class: "quiet" }, "No job has been submitted."));
  $("jobs").replaceChildren(...jobs.map((job) => {
    const newest = job.checkpoints?.history?.find((one) => one.status === "COMPLETED");
    const watermarks = job.operators.map((operator) => operator.watermark_ms).filter(Boolean);
    const lag = job.operators.map((operator) => operator.metrics.pendingRecords).filter((value) => value != null).reduce((a, b) => a + b, null);
    const fact = (name, value) => el("span", {}, `${name} `, el("b", {}, value));
    const counts = job.checkpoints?.counts;
    const bars = el("div", { class: "checkpoints", role: "img", "aria-label": "Time of each checkpoint" });
    const card = el("article", { class: "card job" },
      el("header", {}, el("h2", {}, job.name || job.id), el("span", { class: `badge ${job.state === "RUNNING" || job.state === "FINISHED" ? "up" : job.state === "FAILED" ? "down" : ""}` }, job.state.toLowerCase())),
      el("div", { class: "facts" }, fact("up for", duration(job.duration_ms)), fact("watermark", watermarks.length ? `${duration(Date.now() - Math.min(...watermarks))} behind` : "–"), fact("lag", lag == null ? "–" : `${count(lag)} records`),
        fact("checkpoints", counts ? `${count(counts.completed)} done, ${count(counts.failed)} failed` : "–"), fact("last", newest ? `${duration(Date.now() - newest.at_ms)} ago, took ${duration(newest.took_ms)}, ${bytes(newest.bytes)}` : "–")),
      job.trouble ? el("p", { class: "quiet down" }, `last failure: ${job.trouble}`) : null,
      job.operators.length ? el("div", { class: "graph", tabindex: "0" }, graph(job)) : null, bars);
    if (!job.checkpoints?.history?.length) bars.hidden = true; else queueMicrotask(() => checkpoints(job, bars));
    return card;
  }));
  document.querySelectorAll(".graph").forEach((box, i) => { box.scrollLeft = scrolled[i] ?? 0; });
}, $("jobs"));

// === tables and topics ===

const header = (...columns) => el("thead", {}, el("tr", {}, ...columns.map(([name, numeric]) => el("th", { scope: "col", class: numeric ? "n" : null }, name))));
const row = (...values) => el("tr", {}, ...values.map(([value, numeric, title]) => el("td", { class: numeric ? "n" : null, title }, value)));

every(5000, "/api/platform/tables", ({ tables }) => {
  $("tables").replaceChildren(tables.length ? el("table", { class: "rows" },
    header(["Table"], ["Last commit"], ["Operation"], ["Snapshots", 1], ["Files", 1], ["Delete files", 1], ["Records", 1], ["Size", 1], ["Mean file", 1]),
    el("tbody", {}, ...tables.map((one) => {
      const at = millis(one.last_commit);
      return row([`${one.schema}.${one.name}`], [one.trouble ? "not available" : at ? `${duration(Date.now() - at)} ago` : "never", 0, one.trouble ?? one.last_commit], [one.operation ?? "–"], [count(one.snapshots), 1], [count(one.files), 1], [count(one.delete_files), 1], [count(one.records), 1], [bytes(one.bytes), 1], [one.files ? bytes(one.bytes / one.files) : "–", 1]);
    }))) : el("p", { class: "quiet pad" }, "No tables yet."));
}, $("tables"));

const ends = new Map();
every(3000, "/api/platform/topics", ({ topics }) => {
  $("topics").replaceChildren(topics.length ? el("table", { class: "rows" }, header(["Topic"], ["Partitions", 1], ["Records kept", 1], ["Written in all", 1], ["Records/s", 1], ["Offsets by partition"]),
    el("tbody", {}, ...topics.map((one) => {
      const last = ends.get(one.name), now = Date.now();
      ends.set(one.name, [now, one.end]);
      const perSecond = last ? ((one.end - last[1]) * 1000) / (now - last[0]) : null;
      const spans = one.partitions.map((part) => `${part.partition}: ${count(part.first)}–${count(part.end)}`).join("   ");
      return row([one.name], [count(one.partitions.length), 1], [count(one.kept), 1], [count(one.end), 1], [perSecond == null ? "–" : count(Math.round(perSecond)), 1], [spans, 0, spans]);
    }))) : el("p", { class: "quiet pad" }, "No topics yet."));
}, $("topics"));
