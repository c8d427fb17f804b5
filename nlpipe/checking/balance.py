"""How often each label occurs, and how long the texts are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from nlpipe.checking.findings import SHOWN, Finding, rows, shortened
from nlpipe.checking.views import View

UNEVEN = 10  # the most frequent label occurs this many times as often as the rarest
RARE = 5  # rows of a label that are too few to learn it from


def labels(split: str, views: Sequence[View]) -> Iterator[Finding]:
    """Labels that are much rarer than others, with the weights that would even them out."""
    counts = Counter(view.stratum for view in views if view.stratum is not None)
    if len(counts) < 2:
        return
    (usual, most), *_, (rarest, least) = counts.most_common()
    if most >= UNEVEN * least:
        weights = ", ".join(
            f"{label}: {counts.total() / (len(counts) * count):.3g}" for label, count in counts.most_common()[-SHOWN:]
        )
        yield Finding(
            "warning", "imbalance", split, 0,
            f"{usual!r} occurs {most:,} times, {rarest!r} {least:,} times ({len(counts)} labels)",
            f"train.class_weights: balanced makes rare labels count more; the rarest would weigh {weights}",
        )  # fmt: skip
    rare = [f"{label} ({count})" for label, count in counts.items() if count < RARE]
    if rare:
        yield Finding(
            "warning", "rare labels", split, len(rare),
            f"{len(rare)} labels have fewer than {RARE} rows: {', '.join(sorted(rare)[:SHOWN])}",
            "add rows, or put rare labels together",
        )  # fmt: skip


def lengths(split: str, views: Sequence[View], tokens: Callable[[View], int] | None, limit: int) -> Iterator[Finding]:
    """How long the rows are, in tokens against what one pass reads, or in words where no tokenizer is known."""
    measure = tokens or (lambda view: len(view.text.split()))
    found = sorted((measure(view), view.number) for view in views)
    sizes = [size for size, _ in found]
    unit = "tokens" if tokens else "words"
    longest = next(view for view in views if view.number == found[-1][1])
    most = sizes[int(0.95 * (len(sizes) - 1))]
    spread = f"median {median(sizes):g} {unit}, 95 % up to {most:,}, longest {sizes[-1]:,}"
    over = [number for size, number in found if tokens and size > limit]
    if over:
        yield Finding(
            "note",
            "long",
            split,
            len(over),
            f"{rows(len(over))} longer than the {limit} tokens of one pass; {spread}",
            "they are read in windows; raise model.max_length where the model can, or say model.long",
            (f"row {longest.number}: {shortened(longest.text)}",),
            tuple(over),
        )
    else:
        yield Finding("note", "lengths", split, 0, spread)
