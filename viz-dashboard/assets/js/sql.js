// The SQL page: editor with completion, running, cancelling, rows, chart, history.

import { duration, el, getJson, isNumeric, millis, number, table, tabs } from "./lib.js";
import { base, option, Plot } from "./charts.js";

const $ = (id) => document.getElementById(id);
const START = "SELECT action_name, count(*) AS events\nFROM silver.clickstream\nGROUP BY action_name\nORDER BY events DESC";
const KEPT = 100;

// === editor ===

const theme = new CM.Compartment(), language = new CM.Compartment();
const dialect = CM.SQLDialect.define({
  keywords: "select from where group by having order limit offset fetch first next rows only with recursive as on using join left right full outer inner cross natural union all intersect except distinct case when then else end and or not in is null like escape between exists true false cast try_cast interval date timestamp time zone at extract values insert into create table if drop describe show catalogs schemas tables columns explain analyze format type version for unnest ordinality lateral asc desc nulls last over partition rows range unbounded preceding following current row filter within tablesample grouping sets rollup cube",
  types: "boolean tinyint smallint integer bigint real double decimal varchar char varbinary json date time timestamp interval array map row uuid ipaddress",
  builtin: "count sum avg min max approx_distinct date_trunc date_diff date_add from_unixtime to_unixtime now current_timestamp coalesce nullif concat substr lower upper trim length replace regexp_like regexp_extract round floor ceil abs greatest least if array_agg max_by min_by approx_percentile format_datetime",
  doubleQuotedStrings: false, spaceAfterDashes: false,
});
const sqlLanguage = (schema) => CM.sql({ dialect, schema, upperCaseKeywords: true });
const themed = () => (document.documentElement.dataset.theme === "dark" ? CM.oneDark : []);
const editor = new CM.EditorView({
  parent: $("editor"),
  state: CM.EditorState.create({
    doc: new URLSearchParams(location.search).get("q") ?? localStorage.getItem("sql.text") ?? START,
    extensions: [
      CM.Prec.highest(CM.keymap.of([{ key: "Mod-Enter", run: () => { run(); return true; } }])),
      CM.keymap.of([CM.indentWithTab]), CM.basicSetup, CM.EditorView.lineWrapping, language.of(sqlLanguage({})), theme.of(themed()),
      CM.EditorView.contentAttributes.of({ "aria-label": "SQL statement" }),
      CM.EditorView.updateListener.of((update) => { if (update.docChanged) localStorage.setItem("sql.text", update.state.doc.toString()); }),
    ],
  }),
});
addEventListener("themechange", () => { editor.dispatch({ effects: theme.reconfigure(themed()) }); drawChart(); });

/** The selected part if there is one, else everything. */
function statement() {
  const { from, to } = editor.state.selection.main;
  return (from === to ? editor.state.doc.toString() : editor.state.sliceDoc(from, to)).trim();
}
const write = (text) => editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text } });
const insert = (text) => { editor.dispatch(editor.state.replaceSelection(text)); editor.focus(); };

// === tables and history ===

tabs(document.querySelector(".side .tabs"), (panel) => panel === "history" && drawHistory());

async function loadNames() {
  try {
    const { schemas } = await getJson("/api/names");
    editor.dispatch({ effects: language.reconfigure(sqlLanguage(schemas)) });
    const tree = Object.entries(schemas).map(([schema, all]) => el("details", { open: true }, el("summary", {}, schema),
      ...Object.entries(all).map(([name, columns]) => el("details", {}, el("summary", {}, name),
        el("ul", {}, el("li", {}, el("button", { type: "button", onclick: () => { write(`SELECT *\nFROM ${schema}.${name}\nLIMIT 100`); run(); } }, "▸ first 100 rows")),
          ...columns.map((column) => el("li", {}, el("button", { type: "button", onclick: () => insert(column), "aria-label": `Insert ${column}` }, column))))))));
    $("tables").replaceChildren(el("div", { class: "tree" }, ...(tree.length ? tree : ["No tables yet"])));
  } catch (error) {
    $("tables").replaceChildren(el("p", { class: "quiet pad" }, `The catalog cannot be read: ${error.message}`), el("button", { type: "button", onclick: loadNames }, "Try again"));
  }
}

const kept = () => JSON.parse(localStorage.getItem("sql.history") ?? "[]");
function remember(sql, report) {
  const entry = { sql, state: report.state, at: Date.now(), ms: report.elapsed_ms, rows: report.n_rows };
  localStorage.setItem("sql.history", JSON.stringify([entry, ...kept()].slice(0, KEPT)));
  if (!$("history").hidden) drawHistory();
}
function drawHistory() {
  const items = kept().map((entry) => el("button", { type: "button", class: "history-item", onclick: () => { write(entry.sql); editor.focus(); } },
    el("code", {}, entry.sql.replace(/\s+/g, " ")), el("span", {}, `${entry.state} · ${new Date(entry.at).toLocaleString()} · ${duration(entry.ms)} · ${entry.rows} rows`)));
  $("history").replaceChildren(...(items.length ? items : [el("p", { class: "quiet pad" }, "Statements you run are kept here, in this browser.")]));
}

// === running ===

let current = null, result = null;

async function run() {
  const sql = statement();
  if (!sql || current) return;
  const mine = (current = { sql, id: null, cancelled: false });
  result = { columns: [], rows: [] };
  $("run").disabled = true;
  $("cancel").disabled = false;
  $("csv").hidden = true;
  $("progress").hidden = false;
  say("starting");
  let grid = null, report = null;
  try {
    mine.id = (await getJson("/api/queries", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql }) })).id;
    if (mine.cancelled) await cancel();
    for (let pause = 40; ; pause = Math.min(pause * 1.5, 400)) {
      report = await getJson(`/api/queries/${mine.id}?after=${result.rows.length}`);
      if (report.columns.length && !grid) {
        result.columns = report.columns;
        grid = table(report.columns, [], { types: true, limit: 2000 });
        $("grid").replaceChildren(grid);
      }
      result.rows.push(...report.rows);
      grid?.append_rows(report.rows);
      const percent = report.stats.progress_percentage;
      $("progress").firstElementChild.style.width = `${percent ?? (report.n_rows ? 60 : 15)}%`;
      say(`${(report.stats.state || report.state).toLowerCase()} · ${report.n_rows.toLocaleString("en")} rows · ${duration(report.elapsed_ms)}`);
      if (report.state !== "running" && result.rows.length >= report.n_rows) break;
      await new Promise((done) => setTimeout(done, report.rows.length ? 0 : pause));
    }
    finish(report);
    remember(sql, report);
  } catch (error) {
    fail({ message: error.message });
  } finally {
    current = null;
    $("run").disabled = false;
    $("cancel").disabled = true;
    $("progress").hidden = true;
  }
}

function finish(report) {
  if (report.state === "failed") return fail(report.error);
  const more = report.truncated ? " (the first; CSV has all)" : result.rows.length > 2000 ? " (2,000 shown)" : "";
  say(`${report.state} · ${report.n_rows.toLocaleString("en")} rows${more} · ${duration(report.elapsed_ms)}`);
  if (!result.columns.length) $("grid").replaceChildren(el("p", { class: "empty" }, report.state === "cancelled" ? "Cancelled." : "Done; the statement has no rows."));
  $("csv").href = `/api/queries/${report.id}/data.csv`;
  $("csv").hidden = report.state !== "finished";
  offerChart();
}

function fail(error) {
  say("failed");
  const where = error.error_location;
  $("grid").replaceChildren(el("div", { class: "failure", role: "alert" }, el("strong", {}, error.error_name || "The statement failed"), el("pre", {}, error.message)));
  showTab("grid");
  if (!where) return;
  // Put the cursor where the engine saw the mistake.
  const line = editor.state.doc.line(Math.min(where.line_number, editor.state.doc.lines));
  editor.dispatch({ selection: { anchor: Math.min(line.from + where.column_number - 1, line.to) } });
  editor.focus();
}

async function cancel() {
  if (!current) return;
  current.cancelled = true;
  say("cancelling");
  if (current.id) await fetch(`/api/queries/${current.id}`, { method: "DELETE" });
}
const say = (text) => { $("state").textContent = text; };
$("run").addEventListener("click", run);
$("cancel").addEventListener("click", cancel);

// === chart of the result ===

let plot = null;
const showTab = tabs(document.querySelector(".result .tabs"), (panel) => { $("chart-options").hidden = panel !== "chart"; if (panel === "chart") drawChart(); });

function offerChart() {
  const columns = result.columns;
  const fill = (select, all, chosen) => select.replaceChildren(...all.map(([value, name]) => el("option", { value, selected: value === chosen }, name)));
  const numbers = columns.map((column, i) => [i, column.name]).filter(([i]) => isNumeric(columns[i].type));
  const others = columns.map((column, i) => [i, column.name]);
  const time = columns.findIndex((column, i) => result.rows.some((row) => millis(row[i]) != null));
  const y = numbers.at(-1)?.[0] ?? columns.length - 1;
  const x = time >= 0 ? time : others.find(([i]) => i !== y)?.[0] ?? 0;
  const by = others.find(([i]) => i !== x && i !== y && !isNumeric(columns[i].type))?.[0] ?? -1;
  fill($("chart-x"), others, x);
  fill($("chart-y"), numbers.length ? numbers : others, y);
  fill($("chart-by"), [[-1, "none"], ...others], by);
  $("chart-type").value = time >= 0 ? "line" : "bar";
  if (!$("chart").hidden) drawChart();
}

function drawChart() {
  if (!result?.rows.length || $("chart").hidden) return;
  const [x, y, by] = ["chart-x", "chart-y", "chart-by"].map((id) => Number($(id).value));
  const type = $("chart-type").value;
  const viz = { line: "echarts_timeseries_line", bar: "echarts_timeseries_bar", area: "echarts_area", scatter: "echarts_timeseries_scatter", pie: "pie" }[type];
  const isTime = result.rows.some((row) => millis(row[x]) != null);
  const rows = result.rows.slice(0, 5000).map((row) => (by >= 0 && type !== "pie" ? [row[x], row[by], number(row[y])] : [row[x], number(row[y])]));
  const chart = {
    viz, labels: {}, times: isTime ? ["x"] : [],
    params: { x_axis: "x", groupby: type === "pie" || by >= 0 ? ["by"] : [], metrics: [result.columns[y].name], metric: "y", label_type: "key_percent", show_legend: true },
  };
  if (!plot) {
    const box = el("div", { class: "plot", role: "img", "aria-label": "Chart of the result" });
    $("chart").replaceChildren(box);
    plot = new Plot(box);
  }
  plot.chart.clear();
  plot.show({ ...base(), ...option(chart, { rows }) });
}
for (const id of ["chart-type", "chart-x", "chart-y", "chart-by"]) $(id).addEventListener("change", drawChart);

loadNames();
if (new URLSearchParams(location.search).has("q")) run();
