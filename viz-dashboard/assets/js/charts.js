// From a chart of the bundle and its result to an ECharts option. Pure but for reading the theme's colours.

import { format, millis, number } from "./lib.js";

const PALETTE = {
  light: ["#1098ad", "#5b5bd6", "#f08c00", "#2f9e44", "#e64980", "#1c7ed6", "#ae3ec9", "#868e96", "#e8590c", "#66a80f"],
  dark: ["#3bc9db", "#8f8fff", "#ffc078", "#69db7c", "#faa2c1", "#74c0fc", "#e599f7", "#adb5bd", "#ffa94d", "#a9e34b"],
};

export const theme = () => document.documentElement.dataset.theme;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What all charts share. Motion only where it is welcome. */
export function base() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  return {
    color: PALETTE[theme()], backgroundColor: "transparent", animation: !still, animationDuration: 400, animationDurationUpdate: 350,
    textStyle: { color: color("--text"), fontFamily: getComputedStyle(document.body).fontFamily },
    aria: { enabled: true },
    tooltip: {
      backgroundColor: color("--card"), borderColor: color("--line"), textStyle: { color: color("--text"), fontSize: 12 }, confine: true,
    },
  };
}

const axis = () => ({
  axisLine: { lineStyle: { color: color("--line") } }, axisTick: { show: false },
  axisLabel: { color: color("--quiet"), fontSize: 11, hideOverlap: true }, splitLine: { lineStyle: { color: color("--line"), opacity: 0.7 } },
});

const legend = (show) => ({
  show, type: "scroll", top: 0, left: 0, icon: "roundRect", itemWidth: 12, itemHeight: 8, textStyle: { color: color("--quiet"), fontSize: 11 },
  pageTextStyle: { color: color("--quiet") }, pageIconColor: color("--quiet"),
});

const names = (value) => (value == null ? [] : [].concat(value));
const label = (metric, chart) => {
  const name = typeof metric === "string" ? metric : metric.label || metric.sqlExpression || `${metric.aggregate}(${metric.column?.column_name})`;
  return chart.labels?.[name] || name;
};

/** Rows as series: the first column is x, then the group columns, then the metrics. */
function series(chart, result) {
  const { params } = chart;
  const groups = names(params.groupby).length;
  const metrics = names(params.metrics ?? params.metric);
  const all = new Map();
  for (const row of result.rows) {
    const group = row.slice(1, 1 + groups).map(String).join(", ");
    metrics.forEach((metric, i) => {
      const name = [metrics.length > 1 || !groups ? label(metric, chart) : null, group || null].filter(Boolean).join(", ");
      if (!all.has(name)) all.set(name, []);
      all.get(name).push([row[0], number(row[1 + groups + i])]);
    });
  }
  const sorted = [...all].sort((a, b) => a[0].localeCompare(b[0])).map(([name, data], i) => ({ name, data, color: PALETTE[theme()][i % 10] }));
  // What is stacked stands on its largest part; the colour stays with the name.
  const sum = (one) => one.data.reduce((total, [, y]) => total + (y ?? 0), 0);
  return params.stack ? sorted.sort((a, b) => sum(b) - sum(a)) : sorted;
}

/** Fades towards the axis. */
const fade = (from, alpha) => ({ type: "linear", x: 0, y: 0, x2: 0, y2: 1, colorStops: [{ offset: 0, color: from + alpha }, { offset: 1, color: from + "0a" }] });
const hex = (share) => Math.round(share * 255).toString(16).padStart(2, "0");

const MARK = { echarts_timeseries_bar: "bar", echarts_timeseries_scatter: "scatter" };

/** No moment is more than another: without this, the full hour is bold. */
const TIMES = { year: "{yyyy}", month: "{MMM} {yyyy}", day: "{MMM} {d}", hour: "{HH}:{mm}", minute: "{HH}:{mm}", second: "{HH}:{mm}:{ss}", millisecond: "{HH}:{mm}:{ss}" };

function timeseries(chart, result, width) {
  const { params, viz } = chart;
  const isTime = (chart.times || []).includes(params.x_axis);
  const across = params.orientation === "horizontal";
  const all = series(chart, result);
  const fmt = (value) => format(value, params.y_axis_format);
  const value = { type: "value", ...axis(), axisLine: { show: false }, axisLabel: { ...axis().axisLabel, formatter: fmt } };
  let categories = [...new Set(result.rows.map((row) => String(row[0])))];
  // Horizontal bars read from the top: the largest first.
  if (across) categories = categories.reverse();
  const x = isTime ? { type: "time", ...axis(), axisLabel: { ...axis().axisLabel, formatter: TIMES }, splitLine: { show: false } } : {
    type: "category", data: categories, ...axis(), axisLabel: { ...axis().axisLabel, width: across ? Math.min(130, width * 0.34) : undefined, overflow: across ? "truncate" : undefined },
  };
  const showLegend = params.show_legend !== false && all.length > 1;
  return {
    legend: { ...legend(showLegend), data: all.map((one) => one.name) }, grid: { left: 4, right: across ? 30 : 14, top: showLegend ? 30 : 10, bottom: params.zoomable ? 44 : 4, outerBoundsMode: "same" },
    tooltip: { ...base().tooltip, trigger: "axis", axisPointer: { type: MARK[viz] === "bar" ? "shadow" : "line" }, valueFormatter: fmt },
    dataZoom: params.zoomable ? [{ type: "slider", height: 18, bottom: 6 }, { type: "inside" }] : [],
    xAxis: across ? value : x, yAxis: across ? x : value,
    series: all.map(({ name, data, color: tint }, i) => {
      const points = isTime ? data.map(([at, y]) => [millis(at), y]).sort((a, b) => a[0] - b[0]) : categories.map((category) =>
        data.find(([key]) => String(key) === category)?.[1] ?? null);
      return {
        id: name, name, type: MARK[viz] || "line", data: points, stack: params.stack ? "all" : undefined, showSymbol: false, symbolSize: 6,
        smooth: viz.endsWith("smooth") ? 0.35 : viz === "echarts_area" ? 0.2 : false, step: viz.endsWith("step") ? "end" : false, lineStyle: { width: 2 },
        areaStyle: viz === "echarts_area" ? { color: params.stack ? tint + hex(params.opacity ?? 0.3) : fade(tint, hex(params.opacity ?? 0.3)), opacity: 1 }
          : viz.endsWith("smooth") && all.length === 1 ? { color: fade(tint, "40"), opacity: 1 } : undefined,
        color: tint, barMaxWidth: 26, itemStyle: { color: tint, borderRadius: params.stack ? 0 : across ? [0, 4, 4, 0] : [4, 4, 0, 0] },
        label: across && all.length === 1 ? { show: true, position: "right", color: color("--quiet"), fontSize: 11, formatter: (p) => fmt(p.value) } : undefined,
        emphasis: { focus: all.length > 1 ? "series" : "none" }, z: i,
      };
    }),
  };
}

const FUNNEL = { light: ["#0b7285", "#364fc7", "#862e9c", "#a61e4d", "#495057"], dark: PALETTE.dark };

function parts(chart, result, width) {
  const { params, viz } = chart;
  const data = result.rows.map((row) => ({ name: row.slice(0, -1).map(String).join(", "), value: number(row[row.length - 1]) ?? 0 }));
  const fmt = (value) => format(value, params.number_format);
  const shown = (p) => ({
    key: p.name, value: fmt(p.value), percent: `${p.percent}%`, key_value: `${p.name}  ${fmt(p.value)}`, key_percent: `${p.name}  ${Math.round(p.percent)}%`,
    key_value_percent: `${p.name}  ${fmt(p.value)} (${p.percent}%)`,
  })[params.label_type || "key"];
  const common = { id: viz, label: { show: params.show_labels !== false, color: color("--text"), fontSize: 11, formatter: shown }, data };
  const tooltip = { ...base().tooltip, trigger: "item", valueFormatter: fmt };
  if (viz === "funnel") {
    const first = Math.max(...data.map((d) => d.value), 1);
    const share = (p) => `${fmt(p.value)} · ${Math.round((100 * p.value) / first)}%`;
    // Two lines fit into the narrow end.
    common.label.formatter = (p) => `{name|${p.name.replaceAll("_", " ")}}\n${share(p)}`;
    common.label.rich = { name: { fontSize: 12, fontWeight: 600, color: theme() === "dark" ? "#0d1117" : "#fff", lineHeight: 17 } };
    return {
      tooltip, color: FUNNEL[theme()], legend: legend(false),
      series: [{ ...common, type: "funnel", sort: params.sort_by_metric === false ? "none" : "descending", left: "4%", right: "4%", top: 12, bottom: 12, gap: 4, minSize: "42%",
        label: { ...common.label, position: "inside", color: theme() === "dark" ? "#0d1117" : "#fff", fontWeight: 500, fontSize: 12, lineHeight: 17 }, itemStyle: { borderWidth: 0 } }],
    };
  }
  return {
    tooltip, legend: legend(params.show_legend !== false),
    series: [{ ...common, type: "pie", center: ["50%", "52%"], radius: [params.donut ? `${params.innerRadius ?? 40}%` : 0, `${params.outerRadius ?? 70}%`], padAngle: 1,
      label: { ...common.label, ...named(params, fmt, data.length), alignTo: "none", distanceToLabelLine: 3, overflow: "none", minMargin: 5 }, labelLayout: { hideOverlap: true },
      emphasis: { scaleSize: 4 }, itemStyle: { borderRadius: 4 }, labelLine: { length: width < 380 ? 6 : 10, length2: width < 380 ? 4 : 8, lineStyle: { color: color("--line") } } }],
    // The hole of a ring says what all of it is.
    title: params.donut ? { text: fmt(data.reduce((sum, d) => sum + d.value, 0)), subtext: label(params.metric, chart), left: "center", top: "middle", itemGap: 2,
      textStyle: { color: color("--text"), fontSize: 18, fontWeight: 650 }, subtextStyle: { color: color("--quiet"), fontSize: 11 } } : undefined,
  };
}

/** Name and share of a slice: below each other where slices are few, so that a narrow card need not cut them. */
function named(params, fmt, n_slices) {
  const second = { key_percent: (p) => `${Math.round(p.percent)}%`, key_value: (p) => fmt(p.value) }[params.label_type];
  if (!second) return {};
  return {
    formatter: (p) => `{name|${p.name}}${n_slices > 6 ? " " : "\n"}{share|${second(p)}}`,
    rich: { name: { color: color("--quiet"), fontSize: 11, lineHeight: 14 }, share: { color: color("--text"), fontSize: 12, fontWeight: 600, lineHeight: 15 } },
  };
}

function heatmap(chart, result) {
  const time = (value) => (millis(value) ? new Date(millis(value)).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }) : String(value));
  const xs = [...new Set(result.rows.map((row) => time(row[0])))], ys = [...new Set(result.rows.map((row) => String(row[1])))];
  const values = result.rows.map((row) => number(row[2]) ?? 0);
  return {
    grid: { left: 4, right: 8, top: 8, bottom: 34, outerBoundsMode: "same" }, xAxis: { type: "category", data: xs, ...axis() }, yAxis: { type: "category", data: ys, ...axis() },
    visualMap: { min: Math.min(...values, 0), max: Math.max(...values, 1), orient: "horizontal", bottom: 0, left: "center", itemHeight: 90, itemWidth: 10, textStyle: { color: color("--quiet") } },
    series: [{ id: "heat", type: "heatmap", data: result.rows.map((row) => [xs.indexOf(time(row[0])), ys.indexOf(String(row[1])), number(row[2])]) }],
  };
}

function treemap(chart, result) {
  const root = [];
  for (const row of result.rows) {
    let level = root;
    row.slice(0, -1).forEach((name, i) => {
      let node = level.find((known) => known.name === String(name));
      if (!node) level.push((node = i === row.length - 2 ? { name: String(name), value: number(row[row.length - 1]) } : { name: String(name), children: [] }));
      level = node.children || level;
    });
  }
  return { series: [{ id: "tree", type: "treemap", data: root, breadcrumb: { show: false }, roam: false, nodeClick: false, upperLabel: { show: root.some((n) => n.children) } }] };
}

function gauge(chart, result) {
  const { min_val: min = 0, max_val: max = 100 } = chart.params;
  return { series: [{ id: "gauge", type: "gauge", min, max, progress: { show: true }, detail: { color: color("--text"), fontSize: 20 }, axisLabel: { color: color("--quiet") }, data: [{ value: number(result.rows[0]?.[0]) ?? 0 }] }] };
}

/** The option for a chart in a box of that width, or null when it is drawn as a table or a number. */
export function option(chart, result, width = 600) {
  const { viz } = chart;
  const draw = viz === "echarts_area" || viz.startsWith("echarts_timeseries") ? timeseries : { pie: parts, funnel: parts, heatmap_v2: heatmap, treemap_v2: treemap, gauge_chart: gauge }[viz];
  return draw ? { ...base(), ...draw(chart, result, width) } : null;
}

/** Keeps an ECharts instance in `box`: same series ids are moved, not redrawn. */
export class Plot {
  constructor(box) {
    this.box = box;
    this.chart = echarts.init(box, null, { renderer: "canvas" });
    this.watcher = new ResizeObserver(() => this.chart.resize());
    this.watcher.observe(box);
  }
  show(option) { this.chart.setOption(option, { replaceMerge: ["series", "xAxis", "yAxis"] }); }
  png() { return this.chart.getDataURL({ pixelRatio: 2, backgroundColor: color("--card") }); }
  close() { this.watcher.disconnect(); this.chart.dispose(); this.box.remove(); }
}
