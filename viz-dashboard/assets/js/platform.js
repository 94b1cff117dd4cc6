// The platform page: services, jobs with their graphs, tables, topics; each part asks for itself.

import { bytes, count, duration, el, getJson, millis } from "./lib.js";
import { base } from "./charts.js";
import { foldable, graph } from "./graph.js";

const $ = (id) => document.getElementById(id);
/** Asks again and again, each time only after the answer, and not while the page is hidden. */
function every(ms, url, draw, box) {
  let turns = 0;
  const turn = async () => {
    if (!document.hidden) {
      try { draw(await getJson(url)); }
      catch (error) { box.replaceChildren(el("p", { class: "quiet pad" }, error.message)); }
    }
    // The second time soon: rates need two answers.
    setTimeout(turn, turns++ ? ms : Math.min(ms, 1000));
  };
  turn();
}

// === services ===

const STATE = { ready: ["up", "ready"], "not ready": ["", "not ready"], down: ["down", "down"] };
every(3000, "/api/platform/services", ({ services }) => {
  $("services").replaceChildren(...services.map((service) => {
    const [sign, text] = STATE[service.state];
    const said = [service.state === "ready" ? `${text} in ${duration(service.answered_ms)}` : text, service.detail].filter(Boolean).join(" · ");
    return el("div", { class: "card tile" }, el("span", { class: `dot ${sign === "up" ? "on" : sign === "down" ? "bad" : ""}`, "aria-hidden": "true" }),
      el("strong", {}, service.name), el("span", { class: "quiet" }, service.role),
      el("span", { class: `quiet state ${sign}`, title: said }, said), el("span", { class: "quiet address" }, service.url.replace(/^http:\/\//, "").replace(/\/$/, "")));
  }));
}, $("services"));

// === jobs ===

const before = new Map(); // operator -> [time, records in, records out]
const plots = new Map(); // job -> chart

/** Rates of every operator, from Flink's own metric, else from two counts. */
function rates(job) {
  return new Map(job.operators.map((operator) => {
    const key = job.id + operator.id, now = Date.now();
    const last = before.get(key);
    before.set(key, [now, operator.records_in, operator.records_out]);
    const own = (name, i, value) => operator.metrics[name] ?? (last && now > last[0] ? Math.max(0, ((value - last[i]) * 1000) / (now - last[0])) : null);
    return [operator.id, [own("numRecordsInPerSecond", 1, operator.records_in), own("numRecordsOutPerSecond", 2, operator.records_out)]];
  }));
}

const FACT = { "last checkpoint": (newest) => newest && `${duration(Date.now() - newest.at_ms)} ago`, "took": (newest) => newest && duration(newest.took_ms), "size": (newest) => newest && bytes(newest.bytes) };
const inFull = new Set(); // jobs that are shown operator by operator

/** The graph and, where several operators are drawn as one, a button that shows each. */
function drawing(job) {
  const folded = foldable(job);
  const full = inFull.has(job.id) || !folded;
  const box = el("div", { class: "graph", tabindex: "0", role: "group", "aria-label": `Operator graph of ${job.name}`, "data-key": `graph ${job.id}` });
  const toggle = folded ? el("button", { type: "button", class: "small", "data-key": `all ${job.id}`, "aria-pressed": full, onclick: () => {
    if (!inFull.delete(job.id)) inFull.add(job.id);
    box.replaceChildren(graph(job, inFull.has(job.id), found, box.clientWidth));
    toggle.textContent = words();
    toggle.setAttribute("aria-pressed", inFull.has(job.id));
  } }) : null;
  const words = () => (inFull.has(job.id) ? "Fold simple operators" : `Show all ${job.operators.length} operators`);
  const found = rates(job);
  if (toggle) toggle.textContent = words();
  return { toggle, box, draw: () => box.replaceChildren(graph(job, full, found, box.clientWidth)) };
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

/** A job's card, and what is drawn once the card stands on the page. */
function jobCard(job) {
  const newest = job.checkpoints?.history?.find((one) => one.status === "COMPLETED");
  const watermarks = job.operators.map((operator) => operator.watermark_ms).filter(Boolean);
  const sum = (metric) => job.operators.map((operator) => operator.metrics[metric]).filter((value) => value != null).reduce((a, b) => a + b, null);
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value ?? "–"));
  const counts = job.checkpoints?.counts, lag = sum("pendingRecords"), late = sum("numLateRecordsDropped"), state = sum("stateSize");
  const sign = job.state === "RUNNING" || job.state === "FINISHED" ? "up" : job.state === "FAILED" ? "down" : "";
  const bars = el("div", { class: "checkpoints", role: "img", "aria-label": "Time of each checkpoint" });
  const drawn = job.operators.length ? drawing(job) : null;
  const any = job.checkpoints?.history?.length > 0;
  const card = el("article", { class: "card job" },
    el("header", {}, el("h3", {}, job.name || job.id), el("span", { class: `badge ${sign}` }, job.state.toLowerCase()), el("span", { class: "push" }), drawn?.toggle),
    el("dl", { class: "facts" }, fact("up for", duration(job.duration_ms)), fact("watermark", watermarks.length ? `${duration(Date.now() - Math.min(...watermarks))} behind` : null),
      fact("lag", lag == null ? null : `${count(lag)} records`), late == null ? null : fact("late", `${count(late)} records`), state == null ? null : fact("state", bytes(state)),
      fact("checkpoints", counts ? `${count(counts.completed)}${counts.failed ? `, ${count(counts.failed)} failed` : ""}` : null), ...Object.entries(FACT).map(([name, of]) => fact(name, of(newest)))),
    job.trouble ? el("p", { class: "quiet down" }, `last failure: ${job.trouble}`) : null,
    drawn?.box, any ? el("h4", { class: "quiet" }, "Checkpoint times") : null, any ? bars : null);
  return { card, draw: () => { drawn?.draw(); checkpoints(job, bars); } };
}

every(3000, "/api/platform/jobs", ({ jobs }) => {
  // What is drawn anew keeps its place and the keyboard's focus.
  const scrolled = new Map([...document.querySelectorAll(".graph")].map((box) => [box.dataset.key, box.scrollLeft]));
  const focused = document.activeElement?.dataset.key;
  if (!jobs.length) return $("jobs").replaceChildren(el("p", { class: "card quiet empty" }, "No job has been submitted yet."));
  const cards = jobs.map(jobCard);
  $("jobs").replaceChildren(...cards.map(({ card }) => card));
  for (const { draw } of cards) draw();
  for (const box of document.querySelectorAll(".graph")) box.scrollLeft = scrolled.get(box.dataset.key) ?? 0;
  if (focused) [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus({ preventScroll: true });
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
    }))) : el("p", { class: "quiet empty" }, "No tables yet: they appear with a job's first commit."));
}, $("tables"));

const ends = new Map();
every(3000, "/api/platform/topics", ({ topics }) => {
  $("topics").replaceChildren(topics.length ? el("table", { class: "rows" }, header(["Topic"], ["Partitions", 1], ["Records kept", 1], ["Written in all", 1], ["Records/s", 1], ["Offsets by partition"]),
    el("tbody", {}, ...topics.map((one) => {
      const last = ends.get(one.name), now = Date.now();
      ends.set(one.name, [now, one.end]);
      // At first by the records' own timestamps, then by what was written between two looks.
      const perSecond = last ? ((one.end - last[1]) * 1000) / (now - last[0]) : one.per_second;
      const spans = one.partitions.map((part) => el("span", { class: "chip", title: `partition ${part.partition}, led by ${part.leader ?? "none"}` }, el("b", {}, part.partition), ` ${count(part.first)} – ${count(part.end)}`));
      return row([one.name], [count(one.partitions.length), 1], [count(one.kept), 1], [count(one.end), 1], [count(Math.round(perSecond)), 1], [el("span", { class: "chips" }, ...spans)]);
    }))) : el("p", { class: "quiet empty" }, "No topics yet: they appear with the first record."));
}, $("topics"));
