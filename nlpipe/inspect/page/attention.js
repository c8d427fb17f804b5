"use strict";
// A part, a layer and a head to choose; the matrix and the words follow.

const MODES = ["one head", "mean of a layer", "mean of all", "rollout"];
// Of an encoder-decoder the alignment between source and output comes first.
const state = { part: Math.max(0, data.parts.findIndex((part) => part.kind === "cross")), mode: data.layer || data.head ? 0 : 2, layer: (data.layer || 1) - 1, head: (data.head || 1) - 1 };
const body = el("div", {});

const unpacked = data.parts.map((part) => ({
  ...part, all: bytes(part.weights), mean: bytes(part.average), flow: part.rollout && bytes(part.rollout),
}));

function weight(part, row, column) {
  const [rows, columns] = [part.rows.length, part.columns.length];
  const cell = row * columns + column;
  if (state.mode === 2) return part.mean[cell] / 255;
  if (state.mode === 3) return part.flow[cell] / 255;
  const [, heads] = part.shape;
  const at = (head) => part.all[((state.layer * heads + head) * rows) * columns + cell] / 255;
  if (state.mode === 0) return at(state.head);
  let sum = 0;
  for (let head = 0; head < heads; head += 1) sum += at(head);
  return sum / heads;
}

function words(part, choose) {
  const both = part.kind !== "cross";
  const rows = part.rows.map((unit, at) => chip(unit.label, { kind: unit.special ? "special" : "" }));
  const columns = both ? rows : part.columns.map((unit) => chip(unit.label, { kind: unit.special ? "special" : "" }));
  const light = (row) => {
    columns.forEach((node, column) => { if (row === null) node.style.background = ""; else tint(node, weight(part, row, column)); });
    rows.forEach((node, at) => node.classList.toggle("on", at === row));
  };
  rows.forEach((node, row) => pointAt(node, () => light(row), () => light(null)));
  const box = both ? el("div", { class: "chips" }, ...rows)
    : el("div", {}, quiet("written"), el("div", { class: "chips" }, ...rows), quiet("source"), el("div", { class: "chips" }, ...columns));
  return { box, light };
}

function habit(part) {
  if (part.kind === "cross" || state.mode !== 0) return null;
  const [self, before, after, first] = part.habits[state.layer][state.head];
  return quiet(`On average: itself ${percent(self)}, the one before ${percent(before)}, the one after ${percent(after)}, ` +
    `the first ${percent(first)}; ${fixed(part.entropy[state.layer][state.head])} bits of spread.`);
}

function controls(part) {
  const [layers, heads] = part.shape;
  const modes = part.flow ? MODES : MODES.slice(0, 3);
  if (!part.flow && state.mode === 3) state.mode = 2;
  return el("div", {},
    unpacked.length > 1 ? buttons(unpacked.map((one) => one.kind), state.part, (at) => { state.part = at; draw(); }) : null,
    el("div", { class: "controls" }, buttons(modes, state.mode, (at) => { state.mode = at; draw(); })),
    el("div", { class: "controls" },
      state.mode < 2 ? slider("layer", 1, layers, 1, state.layer + 1, (value) => { state.layer = value - 1; follow(); }, (v) => `${v} of ${layers}`) : null,
      state.mode === 0 ? slider("head", 1, heads, 1, state.head + 1, (value) => { state.head = value - 1; follow(); }, (v) => `${v} of ${heads}`) : null));
}

let follow = () => {};

function draw() {
  redraws.length = 0;
  const part = unpacked[state.part];
  state.layer = Math.min(state.layer, part.shape[0] - 1);
  state.head = Math.min(state.head, part.shape[1] - 1);
  const [rows, columns] = [part.rows.map((unit) => unit.label), part.columns.map((unit) => unit.label)];
  const line = words(part);
  const heat = matrix(rows, columns, (row, column) => weight(part, row, column), (value) => warm(Math.sqrt(value)),
    (row, column, value) => `${rows[row]} → ${columns[column]}: ${percent(value)}`, (row) => line.light(row));
  const info = el("div", {});
  follow = () => { heat.draw(); clear(info, habit(part)); };
  clear(body,
    section(part.title, controls(part), info),
    section("Words: point at one to see what it looks at", line.box),
    section("All of it", quiet("A row looks at the columns; each row sums to 1. Shades show the square root, so that faint weights can be seen."),
      range("rows", rows.length, part.of_rows), range("columns", columns.length, part.of_columns), heat.box));
  follow();
}

view.append(data.output === null ? "" : el("p", {}, "Output: ", el("strong", {}, data.output)), body);
draw();
