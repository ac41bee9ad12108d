// The page of dashboard.h. It loads nothing from elsewhere, and its policy forbids it; metrics are only ever numbers
// and text nodes, so that nothing in a file of metrics can become markup.
#include "minke/train/dashboard.h"

namespace minke {

const char* const kDashboardPage = R"page(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:">
<link rel="icon" href="data:,">
<title>minke</title>
<style>
:root { color-scheme: light dark; --line: #1668b8; --soft: #8884; --faint: #8888; }
@media (prefers-color-scheme: dark) { :root { --line: #6cb2f5; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem; }
h1 { font-size: 1.2rem; margin: 0 0 .5rem; }
#facts { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; margin: .5rem 0; font-variant-numeric: tabular-nums; }
#facts b { font-weight: 600; }
#bar { height: 6px; border-radius: 3px; background: var(--soft); overflow: hidden; }
#bar div { height: 100%; width: 0; background: var(--line); }
#charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; margin-top: 1rem; }
figure { margin: 0; border: 1px solid var(--soft); border-radius: 6px; padding: .6rem; }
figcaption { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: 180px; overflow: visible; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; opacity: .7; }
path { fill: none; stroke: var(--line); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
path.raw { opacity: .3; stroke-width: 1; }
details { margin-top: 1rem; }
</style>
</head>
<body>
<h1 id="title">minke</h1>
<div id="bar"><div></div></div>
<div id="facts"></div>
<div id="charts"></div>
<details><summary>All other numbers</summary><div id="more"></div></details>
<noscript>The curves are drawn by JavaScript; <a href="/metrics.jsonl">metrics.jsonl</a> has the numbers.</noscript>
<script>
"use strict";
const first = ["loss", "reward", "accuracy", "think_tokens"];
const points = new Map();  // step -> line
let status = {}, connected = false, scheduled = false;

function add(text) {
  let line;
  try { line = JSON.parse(text); } catch { return; }
  if (line && Number.isFinite(line.step)) points.set(line.step, line);
}
async function load() {
  try {
    const [lines, state] = await Promise.all([fetch("/metrics.jsonl"), fetch("/status.json")]);
    const text = await lines.text();
    points.clear();
    for (const line of text.split("\n")) if (line) add(line);
    status = await state.json();
    draw();
  } catch { }
}
function time(seconds) {
  if (seconds === null || seconds === undefined) return "?";
  const s = Math.round(seconds), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  return h ? `${h} h ${m} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
}
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4));
}
function element(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  parent.appendChild(node);
  return node;
}
// At most `most` points, each the mean of its neighbours.
function thin(series, most) {
  const each = Math.ceil(series.length / most);
  if (each <= 1) return series;
  const result = [];
  for (let i = 0; i < series.length; i += each) {
    const part = series.slice(i, i + each);
    result.push([part[part.length - 1][0], part.reduce((sum, point) => sum + point[1], 0) / part.length]);
  }
  return result;
}
function smooth(series) {
  let mean = null;
  return series.map(([x, y]) => [x, mean = mean === null ? y : 0.9 * mean + 0.1 * y]);
}
function chart(name, all) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  const label = document.createElement("b"), last = document.createElement("span");
  label.textContent = name.replaceAll("_", " ");
  last.textContent = short(all[all.length - 1][1]);
  caption.append(label, last);
  figure.append(caption);
  const svg = element("svg", { viewBox: "0 0 400 180", preserveAspectRatio: "none", role: "img", "aria-label": name }, figure);
  const series = thin(all, 800);
  const xs = series.map(p => p[0]), ys = series.map(p => p[1]);
  const x0 = xs[0], x1 = Math.max(xs[xs.length - 1], x0 + 1);
  let y0 = Math.min(...ys), y1 = Math.max(...ys);
  if (y0 === y1) { y0 -= 0.5; y1 += 0.5; }
  const place = ([x, y]) => `${((x - x0) / (x1 - x0) * 400).toFixed(1)} ${(150 - (y - y0) / (y1 - y0) * 140).toFixed(1)}`;
  const path = (points, kind) => element("path", { d: "M" + points.map(place).join("L"), class: kind }, svg);
  const many = series.length > 20;
  path(series, many ? "raw" : "");
  if (many) path(smooth(series), "");
  if (series.length === 1) element("circle", { cx: 0, cy: 80, r: 3 }, svg);
  for (const [x, y, anchor, text] of [[0, 8, "start", short(y1)], [0, 164, "start", short(y0)],
                                      [0, 178, "start", x0], [400, 178, "end", xs[xs.length - 1]]])
    element("text", { x, y, "text-anchor": anchor }, svg).textContent = text;
  return figure;
}
function draw() {
  scheduled = false;
  const lines = [...points.values()].sort((a, b) => a.step - b.step);
  const names = new Set();
  for (const line of lines) for (const key in line) if (key !== "step" && Number.isFinite(line[key])) names.add(key);
  const main = [...names].filter(name => first.some(key => name === key || name.startsWith(key + ".")));
  main.sort((a, b) => first.findIndex(key => a.startsWith(key)) - first.findIndex(key => b.startsWith(key)) || (a < b ? -1 : 1));
  const rest = [...names].filter(name => !main.includes(name));
  const series = name => lines.filter(line => Number.isFinite(line[name])).map(line => [line.step, line[name]]);
  document.getElementById("charts").replaceChildren(...main.map(name => chart(name, series(name))));
  const more = document.getElementById("more");
  more.style.cssText = "display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; margin-top: 1rem";
  more.replaceChildren(...(more.parentElement.open ? rest.map(name => chart(name, series(name))) : []));

  const step = status.step || (lines.length ? lines[lines.length - 1].step : 0);
  document.title = document.getElementById("title").textContent = `minke ${status.verb || ""}: ${status.run || ""}`;
  document.querySelector("#bar div").style.width = `${status.steps ? 100 * step / status.steps : 0}%`;
  const facts = [["step", status.steps ? `${step} of ${status.steps}` : step], ["stage", status.stage],
                 ["tokens/s", status.tokens_per_s ? Math.round(status.tokens_per_s) : ""],
                 ["time left", status.done ? "" : time(status.seconds_left)],
                 ["", status.done ? "ended" : connected ? "live" : "not connected: the run has ended or was stopped"]];
  document.getElementById("facts").replaceChildren(...facts.filter(fact => fact[1] !== "" && fact[1] !== undefined).map(([name, value]) => {
    const span = document.createElement("span"), strong = document.createElement("b");
    strong.textContent = value;
    span.append(name + " ", strong);
    return span;
  }));
}
function soon() {  // five drawings a second are enough
  if (!scheduled) { scheduled = true; setTimeout(draw, 200); }
}
document.querySelector("details").addEventListener("toggle", draw);
const events = new EventSource("/events");  // opened before the lines are loaded, so that none is missed
events.onopen = () => { connected = true; load(); };
events.onerror = () => { connected = false; soon(); };
events.addEventListener("line", event => { add(event.data); soon(); });
events.addEventListener("status", event => { status = JSON.parse(event.data); soon(); });
events.addEventListener("reset", load);
draw();
</script>
</body>
</html>
)page";

}  // namespace minke
