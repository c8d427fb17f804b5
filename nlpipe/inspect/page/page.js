"use strict";
// What all views share: elements, colours, a matrix to point at, chips and line pictures. Plain DOM, no library.

const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view");

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const section = (title, ...children) => el("section", {}, el("h2", {}, title), ...children);
const quiet = (text) => el("p", { class: "quiet" }, text);
const percent = (value) => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
const fixed = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const clear = (node, ...children) => node.replaceChildren(...children.filter(Boolean));

function bytes(packed) {
  return Uint8Array.from(atob(packed.bytes), (letter) => letter.charCodeAt(0));
}

function floats(text) {
  const raw = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(raw.buffer);
}

// "tokens 1–200 of 512", or nothing where all are shown.
function range(what, shown, all) {
  return shown < all ? quiet(`${what} ${data.first}–${data.first + shown - 1} of ${all}`) : null;
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const warm = (share) => `rgb(${style("--heat")} / ${Math.max(0, Math.min(1, share))})`;
const cold = (share) => `rgb(${style("--cold")} / ${Math.max(0, Math.min(1, share))})`;
const signed = (value) => (value < 0 ? cold(-value) : warm(value));

// Everything drawn in colours of its own is drawn anew when the reader's theme changes.
const redraws = [];
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((draw) => draw()));
addEventListener("resize", () => redraws.forEach((draw) => draw()));

function buttons(names, chosen, choose) {
  const group = el("div", { class: "buttons", role: "group" });
  const press = (at) => [...group.children].forEach((b, i) => b.setAttribute("aria-pressed", i === at));
  names.forEach((name, at) =>
    group.append(el("button", { type: "button", onclick: () => { press(at); choose(at); } }, name)));
  press(chosen);
  return group;
}

function slider(label, low, high, step, value, change, show = String) {
  const said = el("output", {}, show(value));
  const input = el("input", { type: "range", min: low, max: high, step, value,
    oninput: () => { said.textContent = show(Number(input.value)); change(Number(input.value)); } });
  return el("label", {}, label, input, said);
}

function chip(label, { title = "", small = null, kind = "" } = {}) {
  return el("span", { class: `chip ${kind}`, title, tabindex: 0 }, label, small && el("small", {}, small));
}

function pieceChip(piece, more = {}) {
  const place = piece.special || piece.start === null ? "" : `, characters ${piece.start}–${piece.end}`;
  const kind = piece.special ? "special" : piece.unknown ? "unknown" : "";
  return chip(piece.label, { title: `${piece.piece}, id ${piece.id}${place}`, kind, ...more });
}

function pointAt(node, enter, leave = () => {}) {
  for (const name of ["mouseenter", "focus"]) node.addEventListener(name, enter);
  for (const name of ["mouseleave", "blur"]) node.addEventListener(name, leave);
}

// A matrix of colours with labels. `value(row, column)` is what a cell says, `paint(value)` its colour.
function matrix(rows, columns, value, paint, say, point = () => {}) {
  const canvas = el("canvas", { tabindex: 0 });
  const said = el("p", { class: "said" }, "\u00a0");
  let cell = 0, line = 0, left = 0, top = 0, at = null; // a cell's width, and its height
  function measure(pen) {
    pen.font = "12px system-ui, sans-serif";
    const widest = (labels) => Math.max(10, ...labels.map((label) => Math.min(110, pen.measureText(label).width)));
    left = widest(rows) + 8;
    top = widest(columns) + 8;
    const room = (canvas.parentElement?.clientWidth || 700) - left;
    cell = Math.max(columns.length > 60 ? 8 : 13, Math.min(28, Math.floor(room / columns.length)));
    line = rows.length > 60 ? cell : Math.max(cell, 14);
  }
  function draw() {
    const pen = canvas.getContext("2d");
    measure(pen);
    const [width, height] = [left + cell * columns.length + 1, top + line * rows.length + 1];
    const scale = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * scale, height * scale];
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    rows.forEach((label, row) => {
      if (line >= 11 || row % 3 === 0) labelled(pen, label, row, false);
      columns.forEach((_, column) => {
        pen.fillStyle = paint(value(row, column));
        pen.fillRect(left + column * cell, top + row * line, cell - (cell > 6), line - (line > 6));
      });
    });
    columns.forEach((label, column) => (cell >= 11 || column % 3 === 0) && labelled(pen, label, column, true));
    pen.strokeStyle = style("--line");
    pen.strokeRect(left - 0.5, top - 0.5, cell * columns.length + 1, line * rows.length + 1);
    if (at) {
      pen.strokeStyle = style("--pick");
      pen.lineWidth = 2;
      pen.strokeRect(left + at[1] * cell, top + at[0] * line, cell, line);
    }
  }
  function labelled(pen, label, index, upright) {
    const on = at && at[upright ? 1 : 0] === index;
    pen.fillStyle = on ? style("--pick") : style("--ink");
    pen.save();
    if (upright) { pen.translate(left + (index + 0.5) * cell, top - 5); pen.rotate(-Math.PI / 2); }
    else pen.translate(left - 5, top + (index + 0.5) * line);
    pen.textAlign = upright ? "left" : "right";
    const short = label.length > 16 ? `${label.slice(0, 15)}…` : label;
    pen.fillText(short, 0, 0, 112);
    pen.restore();
  }
  function moved(row, column) {
    const inside = row >= 0 && column >= 0 && row < rows.length && column < columns.length;
    at = inside ? [row, column] : null;
    said.textContent = at ? say(row, column, value(row, column)) : "\u00a0";
    point(at ? row : null);
    draw();
  }
  canvas.addEventListener("pointermove", (event) =>
    moved(Math.floor((event.offsetY - top) / line), Math.floor((event.offsetX - left) / cell)));
  canvas.addEventListener("pointerleave", () => moved(-1, -1));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = at || [0, 0];
    moved(Math.max(0, Math.min(rows.length - 1, row + step[0])), Math.max(0, Math.min(columns.length - 1, column + step[1])));
  });
  const box = el("div", {}, el("div", { class: "scroll" }, canvas), said);
  redraws.push(draw);
  requestAnimationFrame(draw);
  return { box, draw };
}

// Lines over a common axis: `lines` are {name, values, colour, spread}.
function chart(labels, lines, { low = null, high = null, across = "" } = {}) {
  const [wide, tall, left, bottom] = [640, 260, 46, 40];
  const all = lines.flatMap((l) => l.values.flatMap((v, i) => [v - (l.spread?.[i] || 0), v + (l.spread?.[i] || 0)]));
  const least = low ?? Math.min(...all), most = high ?? Math.max(...all);
  const x = (at) => left + (at * (wide - left - 20)) / Math.max(1, labels.length - 1);
  const y = (value) => 12 + (1 - (value - least) / (most - least || 1)) * (tall - bottom - 12);
  const svg = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const drawn = svg("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img" });
  for (const share of [0, 0.5, 1]) {
    const value = least + share * (most - least);
    drawn.append(svg("line", { x1: left, x2: wide - 20, y1: y(value), y2: y(value), style: "stroke: var(--line)" }));
    drawn.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)));
  }
  const step = Math.ceil(labels.length / 8);
  labels.forEach((label, at) => at % step === 0 &&
    drawn.append(svg("text", { x: x(at), y: tall - bottom + 18, "text-anchor": "middle" }, label)));
  drawn.append(svg("text", { x: (wide + left) / 2, y: tall - 4, "text-anchor": "middle" }, across));
  for (const line of lines) {
    if (line.spread) {
      const upper = line.values.map((v, at) => `${x(at)},${y(v + line.spread[at])}`);
      const lower = line.values.map((v, at) => `${x(at)},${y(v - line.spread[at])}`).reverse();
      drawn.append(svg("polygon", { points: [...upper, ...lower].join(" "), style: `fill: ${line.colour}; opacity: .18` }));
    }
    drawn.append(svg("polyline", {
      points: line.values.map((v, at) => `${x(at)},${y(v)}`).join(" "),
      style: `fill: none; stroke: ${line.colour}; stroke-width: 2.5`,
    }));
    line.values.forEach((v, at) => {
      const dot = svg("circle", { cx: x(at), cy: y(v), r: 3.5, style: `fill: ${line.colour}` });
      dot.append(svg("title", {}, `${line.name}, ${labels[at]}: ${v.toFixed(4)}`));
      drawn.append(dot);
    });
  }
  const key = lines.map((line) =>
    el("span", { style: `color: ${line.colour}; font-size: .875rem; font-weight: 600` }, `— ${line.name}  `));
  return el("div", {}, el("div", {}, ...key), el("div", { class: "scroll" }, drawn));
}

function table(heads, rows, numbers = []) {
  const cells = (tag, row) => row.map((cell, at) =>
    cell instanceof Node && cell.tagName === tag.toUpperCase() ? cell
      : el(tag, { class: numbers.includes(at) ? "number" : null }, cell));
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...cells("th", heads))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells("td", row))))));
}

const bar = (share, kind = "") =>
  el("span", { class: `bar ${kind}`, style: `width: calc(${Math.max(0, Math.min(1, share))} * min(10rem, 22vw))` });

// The background of a chip: never so strong that its text is hard to read.
const tint = (node, value) => { node.style.background = signed(0.5 * Math.max(-1, Math.min(1, value))); };

const small = (value) => (Math.abs(value) >= 0.001 || value === 0 ? value.toFixed(4) : value.toExponential(1));
