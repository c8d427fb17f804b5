"use strict";
// Temperature, top-k and top-p to turn, over the model's whole softmax; the steps of writing; the cost of each token.

function drawn(scores, { temperature, top_k, top_p }) {
  // `scores` are sorted, best first; the same order of cuts as transformers' generate.
  const weights = scores.map((score) => Math.exp((score - scores[0]) / temperature));
  for (let at = top_k; at < weights.length; at += 1) weights[at] = 0;
  const sum = weights.reduce((a, b) => a + b, 0);
  let before = 0, left = 0, kept = 0;
  const probabilities = weights.map((weight) => weight / sum);
  for (let at = 0; at < probabilities.length; at += 1) {
    const own = probabilities[at];
    if (before >= top_p && top_p < 1) probabilities[at] = 0;
    before += own;
    left += probabilities[at];
    kept += probabilities[at] > 0;
  }
  return { probabilities: probabilities.map((value) => value / left), kept };
}

function placeOf(place) {
  const scores = Array.from(floats(place.scores));
  const plain = drawn(scores, { temperature: 1, top_k: scores.length, top_p: 1 }).probabilities;
  const settings = { temperature: 1, top_k: scores.length, top_p: 1 };
  const box = el("div", {});
  const draw = () => {
    const now = drawn(scores, settings);
    const mass = plain.reduce((sum, value, at) => sum + (now.probabilities[at] > 0 ? value : 0), 0);
    clear(box, quiet(`${now.kept.toLocaleString("en")} of ${scores.length.toLocaleString("en")} tokens can be drawn; ` +
      `they had ${percent(mass)} of the softmax.`),
      table(["token", "softmax", "", "drawn from", ""], place.labels.map((label, at) => [
        label, percent(plain[at]), bar(plain[at], "cold"),
        now.probabilities[at] > 0 ? percent(now.probabilities[at]) : el("td", { class: "cut" }, "cut"),
        bar(now.probabilities[at]),
      ]), [1, 3]));
  };
  draw();
  const turn = (name) => (value) => { settings[name] = value; draw(); };
  const ks = [...new Set([1, 2, 3, 5, 10, 20, 40, 100, 1000, scores.length])].filter((k) => k <= scores.length);
  return section(`${place.name}: ${fixed(place.entropy)} bits of uncertainty`, el("div", { class: "controls" },
    slider("temperature", 0.05, 3, 0.05, 1, turn("temperature"), (v) => v.toFixed(2)),
    slider("top-k", 0, ks.length - 1, 1, ks.length - 1, (at) => turn("top_k")(ks[at]), (at) => (ks[at] === scores.length ? "all" : String(ks[at]))),
    slider("top-p", 0.05, 1, 0.05, 1, turn("top_p"), (v) => v.toFixed(2))), box);
}

function steps() {
  if (!data.steps.length) return null;
  const said = el("div", {}, quiet("Point at a token to see what else it might have been."));
  const nodes = data.steps.map((step, at) => {
    const node = chip(step.chosen.label, { small: percent(step.chosen.probability) });
    tint(node, step.chosen.probability);
    pointAt(node, () => clear(said, table([`step ${at + 1}`, "probability", ""],
      [step.chosen, ...step.runners].map((one) => [one.label, percent(one.probability), bar(one.probability)]), [1])));
    return node;
  });
  return section("Greedy, step by step", el("div", { class: "chips" }, ...nodes),
    el("p", {}, "Written: ", el("strong", {}, data.written)), said);
}

function surprise() {
  const found = data.surprise;
  if (!found) return null;
  const nodes = found.pieces.map((piece, at) => {
    const bits = found.bits[at];
    const node = pieceChip(piece, { small: bits === null ? "" : bits.toFixed(1) });
    if (bits !== null) tint(node, bits / 16);
    return node;
  });
  const around = found.given === "around";
  return section("What each token costs, in bits",
    quiet(`${around ? "Given all others: pseudo-perplexity" : "Given those before it: perplexity"} ${fixed(found.perplexity)}.`),
    range("tokens", found.pieces.length, found.of), el("div", { class: "chips" }, ...nodes));
}

view.append(...[...data.places.map(placeOf), steps(), surprise()].filter(Boolean));
