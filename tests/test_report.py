"""The page of a measurement: every task's, from answers alone, self-contained and faithful."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nlpipe import measured, reporting
from nlpipe.data import Split
from nlpipe.details import Chart, Interval, Intervals, Line, Mark, Pair, Pairs, Table
from nlpipe.errors import DataError
from nlpipe.evaluation import evaluate
from nlpipe.plugins import Plugins
from nlpipe.report.charts import drawn
from nlpipe.report.drawing import differences, marked, section
from nlpipe.results import Answer, Entities, Label, Likelihood, Ranked, Ranking, Similarity, Span, Text
from nlpipe.rows import to_record
from nlpipe.task import Task

PLUGINS = Plugins.discover()
VOID = {"meta", "link", "br", "hr", "img", "input", "path", "circle", "polyline"}


class Balanced(HTMLParser):
    """Fails on a tag that is not closed, and keeps what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)
        assert not [value for name, value in attrs if name in {"src", "href"} and not str(value).startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text.append(data)


def read(page: str) -> str:
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return " ".join(" ".join(parser.text).split())


def label(said: str, sure: float) -> Label:
    return Label(said, sure, {said: sure, "other": 1 - sure}, (said,))


def answered(name: str) -> tuple[Task[Any, Any, Any, Any], Sequence[Any], Sequence[Any]]:
    """A task, answers and rows: some right and some not."""
    kind = PLUGINS.task(name)

    def example(**cells: Any) -> Any:
        return to_record(cells, kind.Example)

    if name == "classification":
        rows = [example(text=f"text <b>{at}</b>", label="ab"[at % 2]) for at in range(40)]
        return kind(("a", "b")), [label("a", 0.5 + at / 100) for at in range(40)], rows
    if name == "ner":
        rows = [example(text="Ada in Rome", spans=[{"start": 0, "end": 3, "label": "person"}])] * 12
        spans = (Span(0, 3, "person", 0.9), Span(7, 11, "place", 0.8, "Rome"))
        return kind(("O", "B-person", "I-person")), [Entities(spans)] * 12, rows
    if name == "qa":
        rows = [example(question="Who?", context="It was Ada.", answers={"text": ["Ada"], "answer_start": [7]})] * 12
        return kind(()), [Answer("It", 0, 2), *[Answer("Ada", 7, 10)] * 11], rows
    if name == "similarity":
        rows = [example(text_a="a", text_b="b", score=float(at)) for at in range(12)]
        return kind(()), [Similarity(at / 12, "cosine") for at in range(12)], rows
    if name == "retrieval":
        rows = [example(query=f"which {at}", relevant={"right": 2.0, "found": 1.0, "nowhere": 1.0}) for at in range(12)]
        documents = [
            Ranked("wrong", 0.9, "of no use"),
            Ranked("found", 0.8, "as well"),
            Ranked("x", 0.7),
            Ranked("y", 0.6),
        ]
        return kind(()), [Ranking((*documents, Ranked("right", 0.5, "the best one")))] * 12, rows
    if name == "language_modelling":
        rows = [example(text=f"too many words to read, they say {at}") for at in range(12)]
        return kind(()), [Likelihood(-20.0 - at, 8, 12.0) for at in range(12)], rows
    if name == "generative_qa":
        rows = [example(question="Who?", context="It was Ada.", answers={"text": ["Ada", "her"]})] * 12
        return kind(()), [Text("Ada too", True, None)] * 12, rows
    if name == "translation":
        rows = [example(source=f"eins zwei {at}", target=f"one two {at}") for at in range(12)]
        return kind(()), [Text(f"one too {at}", True, None) for at in range(12)], rows
    raise AssertionError(name)


def split(rows: Sequence[Any], **columns: Any) -> Split:
    frame = pd.DataFrame([row.model_dump() for row in rows])
    for column, values in columns.items():
        frame[column] = values
    return Split("test", "rows.jsonl", list(rows), frame, list(range(1, len(rows) + 1)))


@pytest.mark.parametrize(
    "name",
    ["classification", "ner", "qa", "similarity", "retrieval", "translation", "language_modelling", "generative_qa"],
)
def test_a_page_stands_by_itself_and_shows_what_went_wrong(name: str, tmp_path: Path) -> None:
    task, results, rows = answered(name)
    part = split(rows)
    scores = evaluate(task, results, rows, bootstrap=50)
    reporting.keep(tmp_path, task, part, scores, results)
    page = reporting.page(tmp_path, task, part, scores, results, title=name).read_text(encoding="utf-8")
    assert "http" not in page
    seen = read(page)
    for metric, value in scores.scores.items():
        assert metric in seen
        assert f"{value:.4f}" in seen
    wrong = {"classification": "text <b>39</b>", "ner": "place wrong", "qa": "Ada", "similarity": "out of place"}
    wrong["retrieval"] = (
        "1. wrong: of no use wrong 2. found: as well right 3. x wrong at 5: right: the best one missed "
        "not found: nowhere missed"
    )
    assert wrong.get(name, "too") in seen


def test_a_column_is_of_numbers_or_of_texts() -> None:
    page = section(Table("t", "", ("what", "value", "n"), (("a", 3, 1), ("b", "7 %", None))))
    assert page.count('class="number"') == 2  # the head and one cell of the last
    assert "<td>3</td>" in page


def test_a_label_alone_has_its_errors_shown() -> None:
    kind = PLUGINS.task("classification")
    rows = [kind.Example(text=str(at), label="ab"[at % 2]) for at in range(4)]
    titles = {d.title for d in kind(()).details([Label("a", None, {}, ("a",))] * 4, rows)}
    assert "Errors" in titles
    sure = {d.title for d in kind(()).details([Label("a", 0.7, {}, ("a",))] * 4, rows)}
    assert {"The most confident errors", "How far probabilities can be trusted"} <= sure


def test_details_of_labels_are_the_numbers_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    task, results, rows = answered("classification")
    by_label = next(detail for detail in task.details(results, rows) if detail.title == "Label by label")
    gold, said = [row.label for row in rows], [result.label for result in results]
    expected = precision_recall_fscore_support(gold, said, labels=["a", "b"], zero_division=0)
    found = {row[0]: row for row in by_label.rows}  # type: ignore[attr-defined]
    assert found["a"][3:] == pytest.approx([expected[at][0] for at in range(3)])
    assert found["b"][2:4] == (0, None)  # never answered: no precision


def test_calibration_error_by_hand() -> None:
    """Twenty answers at 0.75, fifteen right: calibrated. Twenty at 0.95, ten right: 0.45 off. On the whole 0.225."""
    kind = PLUGINS.task("classification")
    rows = [kind.Example(text=str(at), label="a") for at in range(40)]
    results = [label("a" if at < 15 else "b", 0.75) for at in range(20)]
    results += [label("a" if at < 10 else "b", 0.95) for at in range(20)]
    chart = next(detail for detail in kind(("a", "b")).details(results, rows) if isinstance(detail, Chart))
    assert "error 0.225" in chart.note
    assert chart.lines[0].points == ((pytest.approx(0.75), 0.75), (pytest.approx(0.95), 0.5))


def test_overlapping_marks_lose_no_text() -> None:
    marks = [Mark(0, 5, "x", "right"), Mark(3, 8, "y", "wrong"), Mark(4, 5, "z", "missed")]
    page = marked("abcdefghij", marks)
    assert re.sub(r"<small>.*?</small>|<[^>]+>", "", page) == "abcdefghij"
    assert '<mark class="missed right wrong">e<small>x right</small><small>z missed</small></mark>' in page
    assert '<mark class="wrong">fgh<small>y wrong</small></mark>' in page
    assert len(marked("a" * 50_000 + "b", [Mark(50_000, 50_001, "x", "right")])) < 5000


def test_numbers_on_an_axis_take_few_letters() -> None:
    page = drawn(Chart("t", "", "x", "y", (Line("l", ((0.0, 0.0), (1.0, 0.0002))),)))
    assert ">1.5e-4<" in page
    assert ">2e-4<" in page


def test_what_is_long_is_bounded_and_said() -> None:
    rows = tuple((f"name {at}", at) for at in range(1000))
    page = section(Table("t", "", ("name", "number"), rows))
    assert "800 rows more" in page
    assert "name 300" not in page
    items = tuple(Pair("asked", ("right",), f"said {at}") for at in range(30))
    assert "20 more" in section(Pairs("p", "", items))


def test_intervals_are_drawn_beside_their_names() -> None:
    items = (
        Interval("runs/one <b>", 0.5, 0.4, 0.6),
        Interval("n", 0.7, 0.65, 0.75, strong=True),
        Interval("no", 1, 1, nan),
    )
    page = section(Intervals("t", "", "score", items, guide=0.55))
    assert read(page).count("runs/one <b>") == 2  # as a name, and where one points at it
    assert page.count("<circle") == 2
    assert "Nothing to draw" in section(Intervals("t", "", "score", ()))


def test_differences_mark_what_the_other_lacks() -> None:
    left, right = differences("the cat <sat>", "the dog sat")
    assert "<del>cat</del>" in left
    assert "<ins>dog</ins>" in right
    assert "&lt;" in left


@pytest.mark.parametrize("points", [((0.0, 1.0),), ((1.0, float("nan")), (2.0, 3.0)), ((1e-9, 5.0), (1e9, 5.0))])
def test_a_chart_is_drawn_of_any_points(points: tuple[tuple[float, float], ...]) -> None:
    assert "nan" not in drawn(Chart("t", "", "x", "y", (Line("l", points),)))


def test_a_slice_that_is_none_is_said_before_the_training(tmp_path: Path) -> None:
    from nlpipe.recipe import Recipe
    from nlpipe.running import run
    from nlpipe.testing.tiny import tiny_model

    rows = [{"text": f"a {at}", "label": "xy"[at % 2]} for at in range(12)]
    recipe = Recipe(
        task="classification",  # type: ignore[arg-type]
        model={"backbone": str(tiny_model("bert", tmp_path / "bert", words=("a",)))},  # type: ignore[arg-type]
        data={"train": rows, "test": rows, "check": "off"},  # type: ignore[arg-type]
        train={"steps": 1},  # type: ignore[arg-type]
        evaluate={"slices": ["nope"]},  # type: ignore[arg-type]
        output={"dir": str(tmp_path / "run")},  # type: ignore[arg-type]
    )
    with pytest.raises(DataError, match=r"evaluate\.slices"):
        run(recipe)
    assert not (tmp_path / "run").exists()


def test_slices_are_kept_with_the_scores_and_shown(tmp_path: Path) -> None:
    task, results, rows = answered("classification")
    part = split(rows, source=["web", "app"] * 20)
    scores = evaluate(task, results, rows, bootstrap=0)
    reporting.keep(tmp_path, task, part, scores, results)
    kept = measured.slices(tmp_path)
    assert kept is not None
    assert {"source = web", "source = app", "label = a", "label = b"} <= {one.name for one in kept.named}
    assert kept.found[0].name == "label = b"
    seen = read(reporting.page(tmp_path, task, part, scores, results, title="t").read_text(encoding="utf-8"))
    assert f"Of {kept.looks} slices looked at" in seen
    other = tmp_path / "other"
    reporting.keep(other, task, part, scores, results, wanted=[])
    assert not measured.slices(other).looks  # type: ignore[union-attr]
