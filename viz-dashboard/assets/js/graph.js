// A job's operator graph as SVG: layers from left to right, edges that go around boxes, simple operators folded.

import { bytes, count, duration, el, span } from "./lib.js";

const SVG = "http://www.w3.org/2000/svg";
const svg = (name, attributes, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const MIN_W = 136, MAX_W = 236, GAP_X = 30, GAP_Y = 16, LINE = 17, PAD = 11, MANY = 12, NARROW = 560;

// === what is a box ===

/** An operator's kind and what stands in its brackets, in words of people. */
function spoken(name) {
  const [, kind, inner] = /^(\w+)\((.*)\)$/.exec(name) ?? [];
  if (!kind) return [name, ""];
  const ms = (key) => span(Number(new RegExp(`${key}: (\\d+)`).exec(inner)?.[1] ?? 0));
  if (kind === "Window" && inner.startsWith("Tumble")) return ["Tumble", ms("size")];
  if (kind === "Window" && inner.startsWith("Hop")) return ["Hop", `${ms("size")}, every ${ms("slide")}`];
  return [kind, inner];
}

const passes = (operator) => /^(Project|Late rows)\b/.test(operator.name);

/** Whether there is anything to fold. */
export const foldable = (job) => job.operators.length > MANY && boxes(job, false).nodes.length < job.operators.length;

/**
 * Boxes and edges. In a large job, what only renames columns is left out and a chain of operators is one box; in full,
 * every operator is a box.
 */
function boxes(job, full) {
  let nodes = job.operators.map((operator) => ({ id: operator.id, all: [operator] }));
  let edges = job.edges.filter(([from, to]) => nodes.some((node) => node.id === from) && nodes.some((node) => node.id === to));
  if (full || nodes.length <= MANY) return { nodes, edges };
  const into = (id) => edges.filter(([, to]) => to === id), outOf = (id) => edges.filter(([from]) => from === id);
  for (const node of [...nodes]) {
    const [before, after] = [into(node.id), outOf(node.id)];
    if (!passes(node.all[0]) || before.length !== 1 || after.length !== 1) continue;
    const bridge = [before[0][0], after[0][1]];
    edges = edges.filter((edge) => edge !== before[0] && edge !== after[0]);
    if (!edges.some(([from, to]) => from === bridge[0] && to === bridge[1])) edges.push(bridge);
    nodes = nodes.filter((other) => other !== node);
  }
  for (let merged = true; merged;) {
    const link = edges.find(([from, to]) => outOf(from).length === 1 && into(to).length === 1 && into(from).length > 0
      && nodes.find((node) => node.id === from).all.length < 3);
    if ((merged = link != null)) {
      const [first, second] = link.map((id) => nodes.find((node) => node.id === id));
      first.all.push(...second.all);
      nodes = nodes.filter((node) => node !== second);
      edges = edges.filter((edge) => edge !== link).map(([from, to]) => [from === second.id ? first.id : from, to]);
    }
  }
  return { nodes, edges };
}

// === where it stands ===

/** Layers with a waypoint in every layer that an edge crosses. */
function layered(nodes, edges) {
  const layer = new Map(nodes.map((node) => [node.id, 0]));
  for (let i = 0; i < nodes.length; i++)
    for (const [from, to] of edges) if (layer.get(to) <= layer.get(from)) layer.set(to, layer.get(from) + 1);
  // A source stands right before its first reader.
  for (const { id } of nodes) {
    const after = edges.filter(([from]) => from === id).map(([, to]) => layer.get(to));
    if (after.length && !edges.some(([, to]) => to === id)) layer.set(id, Math.min(...after) - 1);
  }
  const layers = Array.from({ length: Math.max(...layer.values()) + 1 }, () => []);
  for (const node of nodes) layers[layer.get(node.id)].push({ ...node, before: [], after: [] });
  const find = new Map(layers.flat().map((node) => [node.id, node]));
  const ways = edges.map(([from, to]) => {
    const way = [find.get(from)];
    for (let i = layer.get(from) + 1; i < layer.get(to); i++) {
      const point = { height: 2, before: [], after: [] };
      layers[i].push(point);
      way.push(point);
    }
    way.push(find.get(to));
    for (let i = 1; i < way.length; i++) { way[i - 1].after.push(way[i]); way[i].before.push(way[i - 1]); }
    return way;
  });
  return { layers, ways };
}

/** How many edges between neighbouring layers cross. */
function crossings(layers) {
  let found = 0;
  for (const layer of layers) {
    const ends = layer.flatMap((node, i) => node.after.map((next) => [i, next.place]));
    for (let i = 0; i < ends.length; i++)
      for (let j = 0; j < i; j++) if ((ends[i][0] - ends[j][0]) * (ends[i][1] - ends[j][1]) < 0) found++;
  }
  return found;
}

/** Orders each layer by where its neighbours stand, forth and back, and keeps the order with the fewest crossings. */
function ordered(layers) {
  const number = () => layers.forEach((layer) => layer.forEach((node, i) => { node.place = i; }));
  const sort = (layer, side) => {
    const middle = new Map(layer.map((node) => [node, node[side].length ? node[side].reduce((sum, next) => sum + next.place, 0) / node[side].length : node.place]));
    layer.sort((a, b) => middle.get(a) - middle.get(b));
    layer.forEach((node, i) => { node.place = i; });
  };
  number();
  let best = layers.map((layer) => [...layer]), least = crossings(layers);
  for (let turn = 0; turn < 12 && least > 0; turn++) {
    if (turn % 2) [...layers].reverse().forEach((layer) => sort(layer, "after"));
    else layers.forEach((layer) => sort(layer, "before"));
    const now = crossings(layers);
    if (now < least) [best, least] = [layers.map((layer) => [...layer]), now];
  }
  layers.forEach((layer, i) => layer.splice(0, layer.length, ...best[i]));
  number();
}

/** Heights: each node as near to the middle of its neighbours as those above and below let it. */
function settle(layer, wish) {
  const pools = [];
  let offset = 0;
  layer.forEach((node, i) => {
    if (i) offset += (layer[i - 1].height + node.height) / 2 + (node.all && layer[i - 1].all ? GAP_Y : GAP_Y * 0.75);
    node.offset = offset;
    // Neighbours that want the same place share what both want.
    pools.push({ sum: wish(node) - offset, n: 1 });
    while (pools.length > 1 && pools.at(-2).sum / pools.at(-2).n > pools.at(-1).sum / pools.at(-1).n) {
      const last = pools.pop();
      pools.at(-1).sum += last.sum;
      pools.at(-1).n += last.n;
    }
  });
  let i = 0;
  for (const pool of pools) for (let k = 0; k < pool.n; k++, i++) layer[i].y = pool.sum / pool.n + layer[i].offset;
}

function place(layers) {
  for (const layer of layers) settle(layer, () => 0);
  const mean = (all, otherwise) => (all.length ? all.reduce((sum, node) => sum + node.y, 0) / all.length : otherwise);
  for (let turn = 0; turn < 24; turn++) {
    const order = turn % 2 ? [...layers].reverse() : layers;
    for (const layer of order) settle(layer, (node) => mean([...node.before, ...node.after], node.y));
  }
  const top = Math.min(...layers.flat().map((node) => node.y - node.height / 2));
  for (const node of layers.flat()) node.y -= top;
  return Math.max(...layers.flat().map((node) => node.y + node.height / 2));
}

// === how it looks ===

const pen = document.createElement("canvas").getContext("2d");

/** As much of `text` as fits, in the page's own letters. */
function fit(text, width, weight, size) {
  pen.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  if (pen.measureText(text).width <= width) return text;
  while (text && pen.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return `${text}…`;
}
const wide = (text, weight, size) => { pen.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`; return pen.measureText(text).width; };

/** What is said below the names, in lines of that width. */
function sayings(all, rates, width) {
  const [first, last] = [all[0], all.at(-1)];
  const per = (value) => (value == null ? "–" : `${count(Math.round(value))}/s`);
  const flow = [!/^Source/.test(first.name) && `in ${per(rates.get(first.id)[0])}`, !/Sink\b/.test(last.name) && `out ${per(rates.get(last.id)[1])}`, last.parallelism > 1 && `×${last.parallelism}`];
  const sum = (metric) => all.reduce((total, operator) => total + (operator.metrics[metric] ?? 0), 0);
  const late = sum("numLateRecordsDropped"), state = sum("stateSize"), lag = all.find((operator) => operator.metrics.pendingRecords != null);
  const how = [last.watermark_ms && `${duration(Math.max(0, Date.now() - last.watermark_ms))} behind`, lag && `lag ${count(lag.metrics.pendingRecords)}`, late && `late ${count(late)}`, state && `state ${bytes(state)}`];
  const lines = [];
  for (const parts of [flow, how]) {
    let line = "";
    for (const part of parts.filter(Boolean)) {
      const longer = line ? `${line} · ${part}` : part;
      if (line && wide(longer, 400, 11) > width) { lines.push(line); line = part; } else line = longer;
    }
    if (line) lines.push(line);
  }
  return lines;
}

function drawn(node, x, width, rates) {
  const running = node.all.every((operator) => operator.state === "RUNNING");
  const group = svg("g", { class: running ? "running" : node.all[0].state.toLowerCase(), transform: `translate(${x},${node.y - node.height / 2})` },
    svg("title", {}, node.all.map((operator) => operator.name).join("\n")), svg("rect", { x: 0.5, y: 0.5, width: width - 1, height: node.height - 1, rx: 9 }));
  let y = PAD + 11;
  for (const operator of node.all) {
    const [kind, detail] = spoken(operator.name);
    const title = fit(kind, width - 2 * PAD, 600, 12.5);
    const left = width - 2 * PAD - wide(title, 600, 12.5) - 7;
    const text = svg("text", { x: PAD, y, class: "name" }, title);
    if (detail && left > 24) text.append(svg("tspan", { class: "detail", dx: 7 }, fit(detail, left, 400, 11)));
    group.append(text);
    y += LINE;
  }
  for (const said of node.said) { group.append(svg("text", { x: PAD, y, class: "sub" }, fit(said, width - 2 * PAD, 400, 11))); y += LINE - 1; }
  return group;
}

/** On a phone: the same boxes below each other, each with those that it reads from. */
function steps(nodes, edges, rates, room) {
  const { layers } = layered(nodes, edges);
  const title = (node) => node.all.map((operator) => spoken(operator.name)[0]).join(" → ");
  return el("ol", { class: "steps" }, ...layers.flat().filter((node) => node.all).map((node) => {
    const from = edges.filter(([, to]) => to === node.id).map(([from]) => title(nodes.find((other) => other.id === from)));
    return el("li", {}, el("b", {}, title(node)), from.length ? el("span", {}, `from ${from.join(" and ")}`) : null, ...sayings(node.all, rates, room - 40).map((said) => el("span", {}, said)));
  }));
}

/** The graph for a box of that width: it fits where it can, and scrolls where its letters would be too small. */
export function graph(job, full, rates, room) {
  const { nodes, edges } = boxes(job, full);
  if (room < NARROW) return steps(nodes, edges, rates, room);
  const { layers, ways } = layered(nodes, edges);
  const n = layers.length, width = Math.min(MAX_W, Math.max(MIN_W, Math.floor((room - 4 - (n - 1) * GAP_X) / n)));
  for (const node of layers.flat().filter((node) => node.all)) {
    node.said = sayings(node.all, rates, width - 2 * PAD);
    node.height = 2 * PAD + node.all.length * LINE + node.said.length * (LINE - 1) - 4;
  }
  ordered(layers);
  const height = place(layers);
  const x = new Map(layers.flatMap((layer, i) => layer.map((node) => [node, i * (width + GAP_X)])));
  const box = svg("svg", { width: n * (width + GAP_X) - GAP_X + 2, height: height + 4, role: "img", "aria-label": `${nodes.length} operators of ${job.name}` });
  for (const way of ways) {
    let path = "";
    way.forEach((node, i) => {
      const at = x.get(node);
      if (i) path += ` C${at - GAP_X / 2} ${way[i - 1].y} ${at - GAP_X / 2} ${node.y} ${at - (i === way.length - 1 ? 5 : 0)} ${node.y}`;
      else path = `M${at + width} ${node.y}`;
      if (i && i < way.length - 1) path += ` H${at + width}`;
    });
    const end = way.at(-1), tip = x.get(end);
    box.append(svg("path", { class: "edge", d: path }), svg("path", { class: "tip", d: `M${tip - 7} ${end.y - 4} L${tip} ${end.y} L${tip - 7} ${end.y + 4}z` }));
  }
  for (const node of layers.flat()) if (node.all) box.append(drawn(node, x.get(node), width, rates));
  return box;
}
