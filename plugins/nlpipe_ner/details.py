"""What a report shows of entities: each type by itself, whether borders or types go wrong, and the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from nlpipe.details import SHOWN, Detail, Mark, Passage, Passages, Table

if TYPE_CHECKING:
    from nlpipe.results import Entities, Span
    from nlpipe_ner.examples import TaggedText

    Entity = tuple[int, int, str]

AROUND = 40  # characters on either side of an entity that is shown by itself


def details(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Iterator[Detail]:
    """Scores by type, what kinds of errors there are, and the texts with most of them."""
    pairs = [
        (set(e.entities), {(s.start, s.end, s.label) for s in r.spans}) for r, e in zip(results, examples, strict=True)
    ]
    yield _by_type(pairs)
    yield _kinds(pairs)
    yield from _sure(pairs, results, examples)
    yield _texts(pairs, examples)


def _by_type(pairs: Sequence[tuple[set[Entity], set[Entity]]]) -> Table:
    hits, right, said = (
        Counter(kind for chosen in sets for *_, kind in chosen)
        for sets in ([r & s for r, s in pairs], [r for r, _ in pairs], [s for _, s in pairs])
    )
    kinds = sorted({*right, *said})
    rows = [(kind, right[kind], said[kind], *_shares(hits[kind], right[kind], said[kind])) for kind in kinds]
    bare = [({e[:2] for e in r}, {e[:2] for e in s}) for r, s in pairs]
    there, answered = sum(len(r) for r, _ in bare), sum(len(s) for _, s in bare)
    shares = _shares(sum(len(r & s) for r, s in bare), there, answered)
    rows.append(("borders alone, whatever the type", there, answered, *shares))
    columns = ("type", "entities", "answered", "precision", "recall", "F1")
    note = "An entity is right if its offsets and its type are."
    return Table("Type by type", note, columns, tuple(rows), columns[3:])


def _shares(hits: int, right: int, said: int) -> tuple[float | None, float | None, float | None]:
    return (
        hits / said if said else None,
        hits / right if right else None,
        2 * hits / (right + said) if right + said else None,
    )


def _kinds(pairs: Sequence[tuple[set[Entity], set[Entity]]]) -> Table:
    """Errors as in Chinchor and Sundheim 1993 (MUC-5): right borders and wrong type, and the other way round."""
    counts: Counter[str] = Counter()
    for right, said in pairs:
        for start, end, kind in said - right:
            touching = [(s, e, k) for s, e, k in right if s < end and e > start]
            if any((s, e) == (start, end) for s, e, _ in touching):
                counts["right borders, wrong type"] += 1
            elif any(k == kind for *_, k in touching):
                counts["wrong borders, right type"] += 1
            else:
                counts["both wrong" if touching else "no entity there"] += 1
        counts["missed altogether"] += sum(
            not any(s < end and e > start for s, e, _ in said) for start, end, _ in right - said
        )
    return Table("Kinds of errors", "", ("error", "entities"), tuple(counts.most_common()))


def _sure(
    pairs: Sequence[tuple[set[Entity], set[Entity]]], results: Sequence[Entities], examples: Sequence[TaggedText]
) -> Iterator[Table]:
    """The wrong entities that the model is surest of: often the gold is wrong there."""
    wrong = [
        (span, at)
        for at, ((right, _), result) in enumerate(zip(pairs, results, strict=True))
        for span in result.spans
        if span.score is not None and (span.start, span.end, span.label) not in right
    ]
    if wrong:
        chosen = sorted(wrong, key=lambda pair: (-(pair[0].score or 0.0), pair[1], pair[0].start))[:20]
        rows = tuple((s.text, s.label, s.score, _there(s, pairs[at][0]), _around(s, examples[at])) for s, at in chosen)
        note = f"{len(rows)} of {len(wrong):,}, the surest first. Where the model is sure, the gold may be wrong."
        columns = ("answered", "type", "sure", "right", "in")
        yield Table("The most confident errors", note, columns, rows, ("sure",))


def _there(span: Span, right: set[Entity]) -> str:
    touching = sorted(e for e in right if e[0] < span.end and e[1] > span.start)
    return ", ".join(f"{kind} at {start} to {end}" for start, end, kind in touching) or "nothing there"


def _around(span: Span, example: TaggedText) -> str:
    text = example.whole
    low, high = max(0, span.start - AROUND), min(len(text), span.end + AROUND)
    return f"{'…' if low else ''}{text[low:high]}{'…' if high < len(text) else ''}"


def _texts(pairs: Sequence[tuple[set[Entity], set[Entity]]], examples: Sequence[TaggedText]) -> Passages:
    errors = [len(right ^ said) for right, said in pairs]
    chosen = sorted((at for at in range(len(pairs)) if pairs[at][0] | pairs[at][1]), key=lambda at: (-errors[at], at))
    items = tuple(Passage(examples[at].whole, _marks(*pairs[at])) for at in chosen[:SHOWN])
    note = f"{len(items)} texts of {len(chosen):,} with entities, those with most errors first."
    return Passages("Texts", note, items)


def _marks(right: set[Entity], said: set[Entity]) -> tuple[Mark, ...]:
    """Every entity of either side, in the order of the text."""
    kinds: tuple[tuple[set[Entity], Literal["right", "wrong", "missed"]], ...] = (
        (right & said, "right"),
        (said - right, "wrong"),
        (right - said, "missed"),
    )
    return tuple(sorted((Mark(*e, kind) for chosen, kind in kinds for e in chosen), key=lambda m: (m.start, m.end)))
