"use strict";
// Each scheme's picture, and how far each word moves when the order changes.

function picture(scheme) {
  if (scheme.kind === "none") return null;
  const count = scheme.picture.length;
  if (scheme.shows === "bias") return biases(scheme);
  const rows = scheme.picture.map((_, at) => String(at));
  const columns = scheme.picture[0].map((_, at) => String(at));
  const most = Math.max(1e-9, ...scheme.picture.flat().map(Math.abs));
  const likeness = scheme.shows === "likeness";
  const said = likeness
    ? (row, column, value) => `positions ${row} and ${column}: cosine ${value.toFixed(3)}`
    : (row, column, value) => `position ${row}, dimension ${column}: ${value.toFixed(3)}`;
  const drawn = matrix(rows, columns, (row, column) => scheme.picture[row][column], (value) => signed(value / most), said);
  return el("div", {}, quiet(likeness ? `cosine of the vectors of the first ${count} positions` :
    "a row is a position, a column a dimension: the waves"), drawn.box);
}

function biases(scheme) {
  const rows = scheme.picture.map((_, at) => `head ${at + 1}`);
  const columns = scheme.distances.map(String);
  const most = Math.max(1e-9, ...scheme.picture.flat().map(Math.abs));
  const drawn = matrix(rows, columns, (row, column) => scheme.picture[row][column], (value) => signed(value / most),
    (row, column, value) => `head ${row + 1}, ${scheme.distances[column]} tokens away: ${value.toFixed(3)}`);
  return el("div", {}, quiet("what a distance in tokens adds to attention"), drawn.box);
}

function moved() {
  let layer = data.moved.length - 1;
  const box = el("div", {});
  const most = Math.max(1e-9, ...data.moved.flat());
  const draw = () => clear(box, table(["word", "1 − cosine", ""],
    data.words.map((word, at) => [word, small(data.moved[layer][at]), bar(Math.max(0, data.moved[layer][at]) / most)]), [1]));
  draw();
  const name = (at) => (at === 0 ? "input" : `layer ${at}`);
  const control = slider("layer", 0, data.moved.length - 1, 1, layer, (value) => { layer = value; draw(); }, name);
  return section("The same words in another order", el("p", {}, data.text), el("p", {}, data.other),
    quiet("How far each word's state moves; 0 where the order changes nothing."),
    el("div", { class: "controls" }, control), range("words", data.words.length, data.of), box);
}

view.append(...data.schemes.map((scheme) =>
  section(`${scheme.kind} · ${scheme.where}`, quiet(scheme.explains), picture(scheme))), moved());
