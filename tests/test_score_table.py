"""The table of docs/evaluation.md: our numbers beside the references', and as the page has them. And tags at random."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpipe.results import Answer, Entities, Label, Ranked, Ranking, Text
from nlpipe_ner.schemes import read, write
from tests.score_table import PAGE, TASKS, lines, metric, placed, read_tags

LINES = list(lines())


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.metric}: {line.case}"[:60])
def test_our_number_is_the_reference_s(line: Any) -> None:
    assert line.ours == pytest.approx(line.theirs, abs=1e-12)


def test_every_metric_is_in_the_table() -> None:
    shown = {line.metric for line in LINES}
    assert shown >= {one.name for task in TASKS.values() for one in (*task.metrics, *task.further)}


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == placed(page), "python -m tests.score_table"


def test_tags_written_in_iob1_are_all_well_formed() -> None:
    """Whatever entities there are, also one behind another of its type: strict and not strict are the same then."""
    from seqeval import metrics as seq
    from seqeval.scheme import IOB1

    draw = random.Random(4)

    def tags(size: int) -> list[str]:
        return write(read(draw.choices(["O", "B-X", "I-X", "B-Y"], k=size)), size, "iob1")

    pairs = [(tags(size), tags(size)) for size in (draw.randint(1, 9) for _ in range(60))]
    gold, said = ([pair[at] for pair in pairs] for at in (0, 1))
    results, rows = read_tags(pairs)
    kind = TASKS["ner"]
    task = kind(options=kind.Options(scheme="iob1"))
    strict = metric(task, "strict_f1").score(results, rows)
    assert strict == metric(task, "f1").score(results, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert strict == pytest.approx(seq.f1_score(gold, said, mode="strict", scheme=IOB1))


@pytest.mark.parametrize("letters", ["OBI", "OBIES"])
@pytest.mark.parametrize("seed", range(3))
def test_tags_at_random_are_read_as_seqeval_does(letters: str, seed: int) -> None:
    from seqeval import metrics as seq
    from seqeval.scheme import IOB2, IOBES

    draw = random.Random(seed)

    def tags(size: int) -> list[str]:
        prefixes = [draw.choice(letters) for _ in range(size)]
        return [one if one == "O" else f"{one}-{draw.choice('XY')}" for one in prefixes]

    pairs = [(tags(size), tags(size)) for size in (draw.randint(1, 9) for _ in range(60))]
    gold, said = ([pair[at] for pair in pairs] for at in (0, 1))
    results, rows = read_tags(pairs)
    task = TASKS["ner"]()
    scheme = IOB2 if letters == "OBI" else IOBES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert metric(task, "f1").score(results, rows) == pytest.approx(seq.f1_score(gold, said))
        strict = seq.f1_score(gold, said, mode="strict", scheme=scheme)
    assert metric(task, "strict_f1").score(results, rows) == pytest.approx(strict)


# What holds of all rows. Small sets, drawn by hypothesis.

NAMES = ("a", "b", "c")
WORDS = st.lists(st.sampled_from(["red", "fox", "лиса", "犬", "the", "!"]), min_size=1, max_size=6).map(" ".join)


def _labels(draw: Any) -> tuple[Any, Any, Any]:
    right, said = (draw(st.sampled_from(NAMES)) for _ in range(2))
    chance = draw(st.floats(0.34, 1))
    other = (1 - chance) / 2
    scores = {name: chance if name == said else other for name in NAMES}
    perfect = Label(right, 1.0, {name: float(name == right) for name in NAMES}, (right,))
    row = TASKS["classification"].Example(text="t", label=right)
    return row, Label(said, chance, scores, (said,)), perfect


def _tags(draw: Any) -> tuple[Any, Any, Any]:
    tag = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])
    gold = ["B-X", *draw(st.lists(tag, max_size=4))]
    said = draw(st.lists(tag, min_size=len(gold), max_size=len(gold)))
    (result,), (row,) = read_tags([(gold, said)])
    perfect = Entities.from_dict(TASKS["ner"]().told({"tags": gold}, row))
    return row, result, perfect


def _answers(draw: Any) -> tuple[Any, Any, Any]:
    context = draw(WORDS)
    row = TASKS["qa"].Example(question="q", context=context, answers={"text": (context,), "answer_start": (0,)})
    chance = draw(st.floats(0, 1))
    return row, Answer(draw(WORDS), None, None, None, chance), Answer(context, None, None, None, 0.0)


def _texts(task: str, asked: str, right: str) -> Any:
    def make(draw: Any) -> tuple[Any, Any, Any]:
        texts = draw(st.lists(WORDS.filter(lambda text: text.strip(" !")), min_size=1, max_size=3))
        row = TASKS[task].Example(**{asked: "x", right: tuple(texts)})
        return row, Text(draw(WORDS)), Text(texts[-1])

    return make


def _searches(draw: Any) -> tuple[Any, Any, Any]:
    judged = draw(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3).map(float), min_size=1))
    judged[draw(st.sampled_from("abcdef"))] = 1.0
    best = sorted(judged, key=lambda name: -judged[name])
    order = draw(st.permutations("abcdef"))
    row = TASKS["retrieval"].Example(query="q", relevant=judged)
    said, perfect = (Ranking(tuple(Ranked(name, 0.0) for name in names)) for names in (order, best))
    return row, said, perfect


MAKERS = {
    "classification": _labels,
    "ner": _tags,
    "qa": _answers,
    "summarization": _texts("summarization", "document", "summaries"),
    "translation": _texts("translation", "source", "targets"),
    "generation": _texts("generation", "prompt", "completions"),
    "retrieval": _searches,
}
# Of what depends on how many rows there are, or on what a row is beside others: twice the rows are another set.
COUNTED = {"bleu", "distinct-1", "distinct-2", "distinct-3"}
# Where a perfect answer may lack the best value: of one label alone, pairs of one word, places that nothing fills.
NEVER = COUNTED | {"mcc", "rouge2", "precision@10", "no_answer_exact_match", "no_answer_f1"}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_holds_of_every_metric(name: str, data: st.DataObject) -> None:
    """Perfect is best, the order of rows does not matter, and rows that stand there twice change nothing."""
    drawn = [MAKERS[name](data.draw) for _ in range(data.draw(st.integers(2, 5)))]
    rows, said, perfect = map(list, zip(*drawn, strict=True))
    task = TASKS[name](NAMES if name == "classification" else ())
    for one in (*task.metrics, *task.further):
        counted = np.asarray(one.rows(said, rows), dtype=float)
        value = one.value(counted)
        if one.name not in NEVER and one.direction != "neither":
            assert one.score(perfect, rows) == pytest.approx(one.perfect), one.name
            assert not one.better(value, one.perfect + (1e-9 if one.direction == "maximize" else -1e-9)), one.name
        for other, same in ((counted[::-1], True), (counted.repeat(2, 0), one.name not in COUNTED)):
            if same and not np.isnan(value):
                assert one.value(other) == pytest.approx(value), one.name
