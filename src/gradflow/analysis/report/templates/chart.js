"use strict";
// A chart as SVG: axes, bands, lines and marks. Colors are of the page's style, so that it follows
// dark mode and print; it scales with its box, as its size is in the viewBox alone.
const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 68, right: 14, top: 12, bottom: 46 };
const LETTER = 7.6, LINE = 15;  // pixels of a text
const TURNED = 110;  // pixels of the longest name below a tick that is turned

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// A text of at most `room` pixels; a longer one is cut, and whole in its title.
function label(svg, attributes, name, room) {
  const cut = LETTER * name.length > room + 1;
  const made = element("text", attributes, svg, cut ? `${name.slice(0, Math.floor(room / LETTER) - 1)}…` : name);
  if (cut) element("title", {}, made, name);
}

function shortNumber(value) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1).replace("e+", "e") : String(Number(value.toPrecision(3)));
}

// `whole`: none between two whole numbers.
function linearTicks([low, high], count, whole = false) {
  const raw = Math.max((high - low || 1) / count, whole ? 1 : 0);
  const base = 10 ** Math.floor(Math.log10(raw));
  const step = base * [1, 2, 5, 10].find((factor) => factor * base >= raw);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) ticks.push(k * step);
  return ticks.map((value) => [value, String(Number(value.toPrecision(6)))]);
}

// `low` and `high` are logarithms to base 10.
function logTicks([low, high], count) {
  const every = Math.max(1, Math.ceil((high - low) / count));
  const ticks = [];
  for (let k = Math.ceil(low / every) * every; k <= high; k += every) ticks.push([k, `1e${k}`]);
  return ticks.length > 1 ? ticks : linearTicks([low, high], 4).map(([value]) => [value, shortNumber(10 ** value)]);
}

/* x, y: { label, range: [low, high], log (values are logarithms), names (of 0, 1, ...), ticks,
   whole (indices and counts) };
   bands: { cls, low: [[x, y]], high }; lines: { cls, points, dash }; marks: { cls, x, y, shape, id, title }.
   NaN breaks a line. Returns where a pixel is: { x(pixel), width }. */
function chart(svg, { x, y, bands = [], lines = [], marks = [], onMark }) {
  const width = Math.max(320, svg.clientWidth || 640), height = Math.max(220, svg.clientHeight || 380);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const ticksOf = (axis, count) => axis.ticks ? axis.ticks : axis.names
    ? axis.names.map((name, i) => [i, name]) : axis.log ? logTicks(axis.range, count) : linearTicks(axis.range, count, axis.whole);
  const longest = (ticks) => Math.max(...ticks.map(([, name]) => LETTER * name.length), 0);
  const yTicks = ticksOf(y, (height - MARGIN.top - MARGIN.bottom) / 45);
  const left = Math.min(Math.max(MARGIN.left, longest(yTicks) + 36), 0.4 * width);  // 36: the axis's own label
  const inner = { w: width - left - MARGIN.right };
  const xTicks = ticksOf(x, inner.w / 90);
  const turned = x.names && longest(xTicks) > inner.w / xTicks.length - 6;
  inner.h = height - MARGIN.top - MARGIN.bottom - (turned ? 0.6 * Math.min(longest(xTicks), TURNED) - 8 : 0);
  const share = (axis, value) => (value - axis.range[0]) / (axis.range[1] - axis.range[0] || 1);
  const px = (value) => left + inner.w * share(x, value);
  const py = (value) => MARGIN.top + inner.h * (1 - share(y, value));
  const bottom = MARGIN.top + inner.h;
  let free = -Infinity;  // to the right of the last label; one that would lie on it is left out
  for (const [value, name] of xTicks) {
    const room = 0.5 * LETTER * name.length + 3;
    element("line", { class: "tick", x1: px(value), x2: px(value), y1: bottom, y2: bottom + 5 }, svg);
    if (turned) label(svg, { transform: `translate(${px(value) + 4} ${bottom + 16}) rotate(-35)`, "text-anchor": "end" }, name, TURNED);
    else if (px(value) - room >= free) {
      element("text", { x: px(value), y: bottom + 19, "text-anchor": "middle" }, svg, name);
      free = px(value) + room;
    }
  }
  free = Infinity;
  for (const [value, name] of yTicks) {
    element("line", { class: "grid", x1: left, x2: width - MARGIN.right, y1: py(value), y2: py(value) }, svg);
    if (py(value) > free) continue;
    label(svg, { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, name, left - 32);
    free = py(value) - LINE;
  }
  element("line", { class: "tick", x1: left, x2: width - MARGIN.right, y1: bottom, y2: bottom }, svg);
  element("text", { x: left + inner.w / 2, y: height - 8, "text-anchor": "middle" }, svg, x.label);
  element("text", { transform: `translate(15 ${MARGIN.top + inner.h / 2}) rotate(-90)`, "text-anchor": "middle" }, svg, y.label);
  const at = ([a, b]) => `${px(a).toFixed(1)} ${py(b).toFixed(1)}`;
  for (const { cls, low, high } of bands) {
    for (const [start, end] of spans(low)) {
      const edge = [...high.slice(start, end), ...low.slice(start, end).reverse()];
      element("path", { class: `band ${cls}`, d: `M${edge.map(at).join("L")}Z` }, svg);
    }
  }
  for (const { cls, points, dash } of lines) {
    const dot = ([start, end]) => end - start > 1 ? "" : "m-1.5 0h3";  // a point between two gaps
    const d = spans(points).map(([start, end]) => `M${points.slice(start, end).map(at).join("L")}${dot([start, end])}`).join("");
    element("path", { class: `line ${cls}`, d: d || "M0 0", "stroke-dasharray": dash || "none" }, svg);
  }
  for (const mark of marks) {
    const [a, b, r] = [px(mark.x), Number.isNaN(mark.y) ? MARGIN.top + 6 : py(mark.y), 4.5];
    const shape = Number.isNaN(mark.y) ? "cross" : mark.shape;
    const made = {
      cross: () => element("path", { d: `M${a - r} ${b - r}L${a + r} ${b + r}M${a - r} ${b + r}L${a + r} ${b - r}` }, svg),
      square: () => element("rect", { x: a - r, y: b - r, width: 2 * r, height: 2 * r }, svg),
    }[shape]?.() ?? element("circle", { cx: a, cy: b, r }, svg);
    made.setAttribute("class", `mark ${mark.cls}`);
    element("title", {}, made, mark.title);
    made.addEventListener("click", () => onMark(mark.id));
  }
  return { x: (pixel) => x.range[0] + ((pixel - left) / inner.w) * (x.range[1] - x.range[0]), width, inner, px, bottom };
}

// [start, end) of each run of points without NaN.
function spans(points) {
  const found = [];
  let start = -1;
  points.forEach(([, value], i) => {
    if (Number.isNaN(value)) start = -1;
    else if (start < 0) { start = i; found.push([i, i + 1]); }
    else found[found.length - 1][1] = i + 1;
  });
  return found;
}
