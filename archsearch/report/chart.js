"use strict";
// Elements, scales, axes and the tip: what the sections of the page are drawn with. Texts are set as
// text, never as markup: names come from users' files.

const SVG = "http://www.w3.org/2000/svg";

function put(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children) node.append(child);
  return node;
}

function html(name, attributes = {}, ...children) {
  return put(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, name), attributes, children);
}

// numbers

function human(value) {
  if (value === null || value === undefined) return "–";
  const units = ["", " k", " M", " G", " T", " P", " E"];
  let power = 0;
  while (Math.abs(value) >= 999.95 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return (power || value % 1 ? value.toFixed(1) : String(value)) + units[power];
}

function accuracy(value) {
  return value === null || value === undefined ? "–" : value.toFixed(3);
}

function percent(value) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(1) + " %";
}

function duration(seconds) {
  if (seconds < 90) return seconds.toFixed(0) + " s";
  if (seconds < 5400) return (seconds / 60).toFixed(0) + " min";
  return (seconds / 3600).toFixed(1) + " h";
}

function interval(row) {
  return row.low === null ? "–" : accuracy(row.low) + " to " + accuracy(row.high);
}

// scales

function scale(domain, range, log = false) {
  const of = log ? (v) => Math.log10(Math.max(v, 1e-12)) : (v) => v;
  const [low, high] = domain.map(of);
  const slope = (range[1] - range[0]) / (high - low || 1);
  const place = (v) => range[0] + (of(v) - low) * slope;
  place.ticks = log ? logTicks(domain) : linearTicks(domain);
  return place;
}

function linearTicks([low, high]) {
  const raw = (high - low || 1) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step)
    found.push(Number(v.toPrecision(12)));
  return found;
}

function logTicks([low, high]) {
  const found = [];
  const wide = Math.log10(high / low) > 2.5;
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1)
    for (const m of wide ? [1] : [1, 2, 5]) {
      const v = m * 10 ** e;
      if (v >= low * 0.999 && v <= high * 1.001) found.push(v);
    }
  return found;
}

function around(values, log = false) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) {
    const room = Math.max(Math.log10(high / low), 0.3) * 0.06;
    return [low / 10 ** room, high * 10 ** room];
  }
  const room = (high - low || 1) * 0.05;
  return [low - room, high + room];
}

// charts

class Chart {
  constructor({ width = 720, height = 380, top = 12, x, y, xLog = false, xLabel, yLabel, label, format }) {
    this.margin = { top, right: 16, bottom: 44, left: 56 };
    this.x = scale(x, [this.margin.left, width - this.margin.right], xLog);
    this.y = scale(y, [height - this.margin.bottom, this.margin.top]);
    this.right = width - this.margin.right;
    this.floor = height - this.margin.bottom;
    this.texts = [];
    this.node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    const floor = this.floor;
    for (const v of this.x.ticks)
      this.node.append(
        svg("line", { class: "grid", x1: this.x(v), x2: this.x(v), y1: this.margin.top, y2: floor }),
        svg("text", { class: "tick", x: this.x(v), y: floor + 16, "text-anchor": "middle" },
          (format || human)(v)),
      );
    for (const v of this.y.ticks)
      this.node.append(
        svg("line", {
          class: "grid", x1: this.margin.left, x2: this.right, y1: this.y(v), y2: this.y(v),
        }),
        svg("text", { class: "tick", x: this.margin.left - 8, y: this.y(v) + 4, "text-anchor": "end" },
          String(Number(v.toPrecision(6)))),
      );
    this.node.append(
      svg("text", {
        class: "axis", x: (this.margin.left + this.right) / 2, y: height - 8, "text-anchor": "middle",
      }, xLabel),
      svg("text", {
        class: "axis", "text-anchor": "middle",
        transform: `translate(14 ${(this.margin.top + floor) / 2}) rotate(-90)`,
      }, yLabel),
    );
  }

  line(points, attributes) {
    const path = points.map(([a, b], i) => `${i ? "L" : "M"}${this.x(a)} ${this.y(b)}`).join("");
    this.node.append(svg("path", { fill: "none", d: path, ...attributes }));
  }

  // With caps: on a line that rises at its place it would not be seen otherwise.
  bar(x, low, high, attributes) {
    const [a, b, c] = [this.x(x), this.y(low), this.y(high)];
    const path = `M${a} ${b}V${c}M${a - 4} ${b}h8M${a - 4} ${c}h8`;
    this.node.append(svg("path", { fill: "none", d: path, ...attributes }));
  }

  mark(x, y, kind, attributes) {
    const [a, b] = [this.x(x), this.y(y)];
    const shape = kind === "diamond"
      ? svg("path", { d: `M${a} ${b - 7}L${a + 7} ${b}L${a} ${b + 7}L${a - 7} ${b}Z` })
      : svg("circle", { cx: a, cy: b, r: kind === "small" ? 3.5 : 6 });
    put(shape, attributes, []);
    this.node.append(shape);
    return shape;
  }

  // The name of what lies at x, above the chart on a dotted line: inside it would read like a point.
  head(x, words) {
    const wide = 7 * words.length;
    const left = Math.max(this.margin.left, Math.min(this.x(x) - wide / 2, this.right - wide));
    let base = this.margin.top - 8;
    const meets = (t) => t.base === base && left < t.left + t.wide && t.left < left + wide;
    while (this.texts.some(meets)) base -= 14;
    this.texts.push({ left, wide, base });
    this.node.append(
      svg("line", { class: "head", x1: this.x(x), x2: this.x(x), y1: base + 3, y2: this.floor }),
      svg("text", { class: "tick head", x: left + wide / 2, y: base, "text-anchor": "middle" }, words),
    );
  }

  // A text that would lie on an earlier one moves up.
  text(x, y, words, { dx = 0, dy = 0, "text-anchor": anchor = "start", ...rest }) {
    const wide = 7 * words.length;
    const left = this.x(x) + dx - { start: 0, middle: wide / 2, end: wide }[anchor];
    let base = this.y(y) + dy;
    const meets = (t) => left < t.left + t.wide && t.left < left + wide && Math.abs(base - t.base) < 12;
    while (this.texts.some(meets)) base -= 12;
    this.texts.push({ left, wide, base });
    this.node.append(svg("text", { x: this.x(x) + dx, y: base, "text-anchor": anchor, ...rest }, words));
  }
}

// the tip

const tip = html("div", { id: "tip", role: "status" });

function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line) => html("div", {}, line)));
  tip.style.display = "block";
  const box = event.target.getBoundingClientRect();
  const x = Math.min(box.left + window.scrollX + 14, window.scrollX + innerWidth - tip.offsetWidth - 8);
  const above = box.top + window.scrollY - tip.offsetHeight - 8;
  tip.style.left = Math.max(4, x) + "px";
  tip.style.top = (above > window.scrollY ? above : box.bottom + window.scrollY + 8) + "px";
}

function hideTip() {
  tip.style.display = "none";
}

function told(lines, chosen) {
  const show = (event) => showTip(event, lines);
  const choose = chosen ? () => chosen() : () => {};
  return {
    tabindex: 0, onmouseenter: show, onfocus: show, onmouseleave: hideTip, onblur: hideTip,
    onclick: choose, onkeydown: (event) => (event.key === "Enter" ? choose() : null),
  };
}

// tables

function table(headings, rows, attributes = {}) {
  const cell = (value, i) =>
    html("td", { class: headings[i].text ? "text" : "number" },
      value instanceof Node ? value : String(value));
  return html("div", { class: "wide" },
    html("table", attributes,
      html("thead", {},
        html("tr", {}, ...headings.map((h) => html("th", { class: h.text ? "text" : "number" }, h.name)))),
      html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map(cell))))));
}

const word = (name) => ({ name, text: true });
const figure = (name) => ({ name, text: false });
