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
  return [...all].sort((a, b) => a[0].localeCompare(b[0]));
}

const MARK = { echarts_timeseries_bar: "bar", echarts_timeseries_scatter: "scatter" };

function timeseries(chart, result) {
  const { params, viz } = chart;
  const isTime = (chart.times || []).includes(params.x_axis);
  const across = params.orientation === "horizontal";
  const all = series(chart, result);
  const fmt = (value) => format(value, params.y_axis_format);
  const value = { type: "value", ...axis(), axisLine: { show: false }, axisLabel: { ...axis().axisLabel, formatter: fmt } };
  let categories = [...new Set(result.rows.map((row) => String(row[0])))];
  // Horizontal bars read from the top: the largest first.
  if (across) categories = categories.reverse();
  const x = isTime ? { type: "time", ...axis(), splitLine: { show: false } } : {
    type: "category", data: categories, ...axis(), axisLabel: { ...axis().axisLabel, width: across ? 130 : undefined, overflow: across ? "truncate" : undefined },
  };
  const showLegend = params.show_legend !== false && all.length > 1;
  return {
    legend: legend(showLegend), grid: { left: 4, right: 14, top: showLegend ? 30 : 10, bottom: params.zoomable ? 44 : 4, outerBoundsMode: "same" },
    tooltip: { ...base().tooltip, trigger: "axis", axisPointer: { type: MARK[viz] === "bar" ? "shadow" : "line" }, valueFormatter: fmt },
    dataZoom: params.zoomable ? [{ type: "slider", height: 18, bottom: 6 }, { type: "inside" }] : [],
    xAxis: across ? value : x, yAxis: across ? x : value,
    series: all.map(([name, data], i) => {
      const points = isTime ? data.map(([at, y]) => [millis(at), y]).sort((a, b) => a[0] - b[0]) : categories.map((category) =>
        data.find(([key]) => String(key) === category)?.[1] ?? null);
      return {
        id: name, name, type: MARK[viz] || "line", data: points, stack: params.stack ? "all" : undefined, showSymbol: false, symbolSize: 6,
        smooth: viz.endsWith("smooth") ? 0.35 : viz === "echarts_area" ? 0.2 : false, step: viz.endsWith("step") ? "end" : false, lineStyle: { width: 2 },
        areaStyle: viz === "echarts_area" ? { opacity: params.opacity ?? 0.3 } : viz.endsWith("smooth") && all.length === 1 ? { opacity: 0.12 } : undefined,
        barMaxWidth: 26, itemStyle: { borderRadius: params.stack ? 0 : across ? [0, 4, 4, 0] : [4, 4, 0, 0] },
        label: across && all.length === 1 ? { show: true, position: "right", color: color("--quiet"), fontSize: 11, formatter: (p) => fmt(p.value) } : undefined,
        emphasis: { focus: all.length > 1 ? "series" : "none" }, z: i,
      };
    }),
  };
}

function parts(chart, result) {
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
    common.label.formatter = (p) => `${p.name.replaceAll("_", " ")}   ${fmt(p.value)}   ${Math.round((100 * p.value) / first)}%`;
    return {
      tooltip, legend: legend(false),
      series: [{ ...common, type: "funnel", sort: params.sort_by_metric === false ? "none" : "descending", left: "4%", right: "4%", top: 12, bottom: 12, gap: 4, minSize: "46%",
        label: { ...common.label, position: "inside", color: theme() === "dark" ? "#0d1117" : "#fff", fontWeight: 600, fontSize: 12 }, itemStyle: { borderWidth: 0 } }],
    };
  }
  return {
    tooltip, legend: legend(params.show_legend !== false),
    series: [{ ...common, type: "pie", center: ["50%", "52%"], radius: [params.donut ? `${params.innerRadius ?? 40}%` : 0, `${params.outerRadius ?? 70}%`], padAngle: 1,
      label: { ...common.label, alignTo: "none", bleedMargin: 0, edgeDistance: 0, distanceToLabelLine: 3, overflow: "none" },
      itemStyle: { borderRadius: 4 }, labelLine: { length: 6, length2: 4, lineStyle: { color: color("--line") } } }],
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

/** The option for a chart, or null when it is drawn as a table or a number. */
export function option(chart, result) {
  const { viz } = chart;
  const draw = viz === "echarts_area" || viz.startsWith("echarts_timeseries") ? timeseries : { pie: parts, funnel: parts, heatmap_v2: heatmap, treemap_v2: treemap, gauge_chart: gauge }[viz];
  return draw ? { ...base(), ...draw(chart, result) } : null;
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
