"use strict";
// A layer to choose; the cosine table and a cloud that can be turned follow it.

const labels = data.items.map((item) => item.label);
let layer = data.layers.length - 1;
let turn = [0.5, -0.35];
let flat = false;

const paint = (value) => signed(value);
const heat = matrix(labels, labels, (row, column) => data.cosines[layer][row][column], paint,
  (row, column, value) => `${labels[row]} · ${labels[column]}: cosine ${value.toFixed(3)}`);

const canvas = el("canvas", { class: "cloud", tabindex: 0, "aria-label": "the cloud of vectors; arrow keys turn it" });
const kept = el("p", { class: "quiet" });

function placed() {
  const points = data.points[layer];
  const size = Math.max(1e-9, ...points.flat().map(Math.abs));
  const [sideways, up] = flat ? [0, 0] : turn;
  const [cs, ss, cu, su] = [Math.cos(sideways), Math.sin(sideways), Math.cos(up), Math.sin(up)];
  return points.map(([x, y, z]) => {
    const [a, b, c] = [x / size, y / size, flat ? 0 : z / size];
    const [right, deep] = [a * cs + c * ss, c * cs - a * ss];
    return [right, b * cu - deep * su, deep * cu + b * su];
  });
}

function cloud() {
  const width = canvas.parentElement?.clientWidth || 600;
  const height = Math.min(460, Math.max(280, width * 0.6));
  const scale = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * scale, height * scale];
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "13px system-ui, sans-serif";
  const [middle, half, reach] = [width / 2, height / 2, Math.min(width / 2 - 50, height / 2 - 20)];
  const order = placed().map((point, at) => [point, at]).sort((one, two) => one[0][2] - two[0][2]);
  for (const [[x, y, z], at] of order) {
    const near = flat ? 1 : 0.45 + 0.55 * (z + 1.8) / 3.6;
    const [left, top] = [middle + x * reach, half - y * reach];
    pen.globalAlpha = Math.max(0.25, Math.min(1, near));
    pen.fillStyle = data.items[at].text % 2 ? cold(1) : warm(1);
    pen.beginPath();
    pen.arc(left, top, 3 + 2 * near, 0, 7);
    pen.fill();
    pen.fillStyle = style("--ink");
    const label = labels[at].length > 24 ? `${labels[at].slice(0, 23)}…` : labels[at];
    const wide = pen.measureText(label).width;
    pen.fillText(label, left + 8 + wide > width ? left - 8 - wide : left + 8, top + 4);
  }
  pen.globalAlpha = 1;
  const shares = data.kept[layer].slice(0, flat ? 2 : 3);
  kept.textContent = `${flat ? "Two" : "Three"} principal components keep ${percent(shares.reduce((a, b) => a + b, 0))} ` +
    `of the variance (${shares.map(percent).join(", ")}).`;
}

let from = null;
canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointerup", () => { from = null; });
canvas.addEventListener("pointermove", (event) => {
  if (!from) return;
  turn = [turn[0] + (event.clientX - from[0]) / 120, turn[1] + (event.clientY - from[1]) / 120];
  from = [event.clientX, event.clientY];
  cloud();
});
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
  if (!step) return;
  event.preventDefault();
  turn = [turn[0] + step[0], turn[1] + step[1]];
  cloud();
});
redraws.push(cloud);

const near = () => table([data.of.slice(0, -1), "nearest by cosine, without context"], data.items.map((item, at) =>
  [item.label, data.nearest[at].map((one) => `${one.piece} ${one.cosine.toFixed(2)}`).join("   ")]));

function contexts() {
  const found = data.contexts;
  if (!found) return null;
  const lines = [{ name: `“${found.word}” and “${found.word}”`, values: found.cosine, colour: "rgb(var(--heat))" }];
  if (found.others.every((value) => value !== null))
    lines.push({ name: "different words, on average", values: found.others, colour: "rgb(var(--cold))" });
  return section(`“${found.word}” in two contexts`, ...data.texts.slice(0, 2).map((text) => quiet(text)),
    chart(data.layers.map((name) => name.replace("layer ", "")), lines, { low: Math.min(0, ...found.cosine), high: 1, across: "layer" }));
}

const choose = slider("layer", 0, data.layers.length - 1, 1, layer,
  (value) => { layer = value; heat.draw(); cloud(); }, (value) => data.layers[value]);
view.append(
  section("The layer", el("div", { class: "controls" }, choose), range(data.of, labels.length, data.of_all)),
  contexts() ?? "",
  section(`Cosine of ${data.of}`, heat.box),
  section("The cloud", el("div", { class: "controls" },
    buttons(["3-D: drag to turn", "2-D"], 0, (at) => { flat = at === 1; cloud(); })), kept, el("div", {}, canvas)),
  data.nearest.length ? section("Nearest in the vocabulary", near()) : "");
requestAnimationFrame(cloud);
