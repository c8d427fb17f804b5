"use strict";
// What each word adds to the answer, and the curve that tests their order.

const most = Math.max(1e-9, ...data.shares.map(Math.abs));
const lines = [...new Set(data.rows)].map((row) => el("div", { class: "chips" }, ...data.units.flatMap((unit, at) => {
  if (data.rows[at] !== row) return [];
  const share = data.shares[at];
  const node = chip(unit.label, { kind: unit.special ? "special" : "", small: unit.special ? "" : share.toFixed(2),
    title: `adds ${share.toFixed(4)}` });
  if (!unit.special) tint(node, share / most);
  return [node];
})));

const order = data.units.map((unit, at) => at).filter((at) => !data.units[at].special)
  .sort((one, two) => Math.abs(data.shares[two]) - Math.abs(data.shares[one])).slice(0, 12);
const ranked = table(["word", "adds", ""], order.map((at) =>
  [data.units[at].label, fixed(data.shares[at], 3), bar(Math.abs(data.shares[at]) / most, data.shares[at] < 0 ? "cold" : "")]), [1]);

const { share, ranked: first, random, spread, gain } = data.deletion;
const curve = chart(share.map((value) => percent(value)), [
  { name: "most telling first", values: first, colour: "rgb(var(--heat))" },
  { name: "in random order", values: random, spread, colour: "rgb(var(--cold))" },
], { across: "words hidden" });

const apart = data.baselines.length > 1 ? ", one text at a time" : "";
view.append(
  section(`Answer: ${data.answer}`, quiet(`Explained: ${data.explains}.`),
    quiet(`${data.baselines.map((base) => fixed(base, 3)).join(" and ")} with all words ${data.hidden}${apart}, ${fixed(data.value, 3)} with them. The words add the ` +
      `difference up to ${fixed(100 * data.error)} % (${data.steps} steps).`)),
  section("What each word adds", quiet("Warm speaks for the answer, cold against it."), range("words", data.units.length, data.of), ...lines, ranked),
  section("Hiding words", quiet(gain > 0 ? `The order is telling: hiding by it falls ${fixed(gain, 3)} lower than hiding at random, on average.`
    : "Hiding by this order falls no lower than at random: mistrust it here."), curve));
