"use strict";
// Every tokenizer's pieces; pointing at one lights up the same characters in all.

const chips = [];
const overlaps = (a, b) => a.start !== null && b.start !== null && a.start < b.end && b.start < a.end;

function lightUp(piece) {
  for (const [other, node] of chips) node.classList.toggle("on", piece !== null && overlaps(piece, other));
}

const said = el("p", { class: "said" }, "Point at a piece.");

function line(cut) {
  const shown = cut.pieces.slice(0, 600);
  const nodes = shown.map((piece, at) => {
    const before = shown[at - 1];
    const inWord = before && piece.word !== null && before.word === piece.word;
    const node = pieceChip(piece, inWord ? { kind: `joined ${piece.unknown ? "unknown" : ""}` } : {});
    chips.push([piece, node]);
    pointAt(node, () => {
      lightUp(piece);
      const word = piece.word === null ? "" : `, a piece of “${cut.words[piece.word].text}”`;
      const place = piece.special || piece.start === null ? "" : `, characters ${piece.start}–${piece.end}`;
      said.textContent = `${cut.name}: “${piece.piece}”, id ${piece.id}${place}${word}`;
    }, () => lightUp(null));
    return node;
  });
  const more = shown.length < cut.pieces.length ? quiet(`tokens 1–${shown.length} of ${cut.pieces.length}`) : null;
  return section(cut.name, quiet(`${cut.kind}: ${cut.pieces.length} tokens`), el("div", { class: "chips" }, ...nodes), more);
}

const summary = table(
  ["tokenizer", "kind", "entries", "tokens", "per word", "unknown"],
  data.cuts.map((cut) => [cut.name, cut.kind, cut.vocabulary === null ? "" : cut.vocabulary.toLocaleString("en"),
    String(cut.pieces.length), fixed(cut.per_word), String(cut.unknown)]),
  [2, 3, 4, 5]);
view.append(section("Side by side", summary, said), ...data.cuts.map(line));
