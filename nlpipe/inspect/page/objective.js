"use strict";
// What is read, what is asked for, and what each answer costs.

const input = data.input.map((piece, at) => pieceChip(piece, data.marks[at]
  ? { kind: data.marks[at], small: data.marks[at] === "blank" ? null : data.marks[at] } : {}));

const most = Math.max(1e-9, ...data.loss.filter((value) => value !== null));
const target = data.target.map((piece, at) => {
  const loss = data.loss[at];
  const node = pieceChip(piece, { small: loss === null ? "" : loss.toFixed(2) });
  if (loss !== null) tint(node, loss / most);
  const place = data.at[at] - (data.first - 1);
  if (place >= 0 && input[place]) pointAt(node, () => input[place].classList.add("on"), () => input[place].classList.remove("on"));
  return node;
});

const mean = data.mean === null ? null : quiet(`Mean loss ${fixed(data.mean, 3)} nats. Warmer costs more.`);
view.append(
  section(data.kind, quiet(data.explains)),
  section("Input", range("tokens", data.input.length, data.of_input), el("div", { class: "chips" }, ...input)),
  section("Target", mean, data.at.some((at) => at >= 0) ? quiet("Point at a target to see where it is asked for.") : null,
    range("targets", data.target.length, data.of_target), el("div", { class: "chips" }, ...target)));
