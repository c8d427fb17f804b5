"""The task `qa` without a model: rows, scores by hand, thresholds, trivial answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from nlpipe import Answer, DataError
from nlpipe.objectives.answer_span import Extracts
from nlpipe.objectives.base import Passage
from nlpipe.rows import to_record
from nlpipe_qa import QuestionAnswering
from nlpipe_qa.examples import Answered, Answers, Asked
from nlpipe_qa.extraction import QuestionOptions
from nlpipe_qa.scores import EXACT_MATCH, F1, characters, exact, normalised, overlap

CONTEXT = "The Normans came to Normandy. They were Norse raiders. Normandy is in France."


def example(*texts: str, context: str = CONTEXT) -> Answered:
    starts = tuple(context.index(text) for text in texts)
    return Answered(question="who?", context=context, answers=Answers(text=texts, answer_start=starts))


def row(**changes: Any) -> dict[str, Any]:
    return {"question": "who?", "context": CONTEXT, "answers": {"text": ["Norse"], "answer_start": [40]}} | changes


def test_a_row_of_squad_fits() -> None:
    found = to_record(row(), Answered)
    assert found.spans == ((40, 45),)
    assert CONTEXT[40:45] == "Norse"
    assert to_record(row(answers={"text": [], "answer_start": []}), Answered).spans == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": {"text": ["Normandy"], "answer_start": [21]}}, r"'Normandy'.*21.*'ormandy\.'.*occurs at 20, 55"),
        ({"answers": {"text": ["Rome"], "answer_start": [0]}}, r"'Rome'.*has 'The '.*does not occur"),
        ({"answers": {"text": ["Norse"], "answer_start": [-3]}}, "answer_start -3.*occurs at 40"),
        ({"answers": {"text": ["Norse"], "answer_start": [400]}}, "answer_start 400 the context has ''"),
        ({"answers": {"text": ["Norse", "x"], "answer_start": [40]}}, "2 texts and 1 answer_starts"),
        ({"answers": {"text": [" "], "answer_start": [3]}}, r"answers\.text\[0\] is empty"),
        ({"question": " "}, "`question` is empty"),
    ],
)
def test_a_row_that_does_not_fit_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_record(row(**changes), Answered)


def test_a_row_without_answer_needs_the_option() -> None:
    without = example()
    with pytest.raises(DataError, match=r"has no answer.*task\.impossible: true"):
        QuestionAnswering().gold(without, QuestionAnswering().objective(QuestionAnswering.row()["encoder"][0]))  # type: ignore[index]
    task = QuestionAnswering(options=QuestionOptions(impossible=True))
    objective = task.objective(task.row()["encoder"][0])  # type: ignore[index]
    assert task.gold(without, objective) == ()
    assert task.gold(example("Norse", "raiders"), objective) == ((40, 45), (46, 53))
    assert task.query(Asked(question="who?", context="x"), objective) == Passage("who?", "x")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Cat,\tan  owl!", "cat owl"),
        ("a.b.c", "abc"),
        ("Theory of a-bomb", "theory of abomb"),
        ("the", ""),
        ("l'été – «oui»", "lété – «oui»"),  # ASCII punctuation only, as in the script
    ],
)
def test_normalising(text: str, plain: str) -> None:
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("said", "right", "em", "f1"),
    [
        ("the Norse raiders", "Norse raiders.", 1, 1),
        ("Norse", "Norse raiders", 0, 2 / 3),
        ("north and north", "north", 0, 0.5),  # precision 1/3, recall 1: bags count each word as often as it is there
        ("north north", "north north west", 0, 0.8),
        ("Rome", "Norse", 0, 0),
        ("", "Norse", 0, 0),
        ("", "", 1, 1),
        ("the", "", 1, 1),
    ],
)
def test_scores_by_hand(said: str, right: str, em: float, f1: float) -> None:
    assert exact(said, right) == em
    assert overlap(said, right) == pytest.approx(f1)


def said(text: str) -> Answer:
    return Answer(text, 0 if text else None, len(text) if text else None)


def test_the_best_of_several_right_answers_counts() -> None:
    examples = [example("Norse raiders", "raiders"), example(), example(), example("The")]
    results = [said("raiders."), said(""), said("Norse"), said("")]
    assert F1.rows(results, examples).tolist() == [[1], [1], [0], [1]]
    assert EXACT_MATCH.score(results, examples) == 0.75
    assert F1.score([said("Norse")], [example("Norse raiders")]) == pytest.approx(2 / 3)
    assert F1.rows([], []).shape == (0, 1)


def extracts(none: float, *scores: float) -> Extracts:
    spans = tuple((at, at + 5) for at in (40, 0, 20, 30)[: len(scores)])
    return Extracts(spans, scores, none)


ASKED = Asked(question="who?", context=CONTEXT)


def test_a_result_cuts_the_context() -> None:
    result = QuestionAnswering(options=QuestionOptions(top_k=1)).result(extracts(0.4, 0.3, 0.2, 0.1), ASKED)
    assert result == Answer("Norse", 40, 45, 0.3, 0.4, (Answer(CONTEXT[0:5], 0, 5, 0.2, 0.4),))
    assert Answer.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_no_answer_is_given_only_where_it_may_be() -> None:
    task = QuestionAnswering(options=QuestionOptions(impossible=True))
    refused = task.result(extracts(0.4, 0.3, 0.2), ASKED)
    assert (refused.text, refused.start, refused.end, refused.score, refused.no_answer_score) == (
        "",
        None,
        None,
        0.4,
        0.4,
    )
    assert [other.text for other in refused.alternatives] == ["Norse", "The N"]
    assert task.result(extracts(0.3, 0.4), ASKED).text == "Norse"
    bolder = QuestionAnswering(options=QuestionOptions(impossible=True, threshold=0.6))
    assert bolder.result(extracts(0.4, 0.3, 0.2), ASKED).text == "Norse"
    assert QuestionAnswering().result(extracts(1.0), ASKED) == Answer("", None, None, 1.0, 1.0)


def test_the_threshold_is_tuned_for_f1() -> None:
    """Shares of "no answer": 0.8 and 0.6 with a right span, 0.9 and 0.95 without; between 0.8 and 0.9 all is right."""
    task = QuestionAnswering(options=QuestionOptions(impossible=True))
    examples = [example("Norse"), example("Norse"), example(), example()]
    results = [task.result(extracts(none, 1 - none), ASKED) for none in (0.8, 0.6, 0.9, 0.95)]
    assert [result.text for result in results] == ["", "", "", ""]
    tuned = task.tune(results, examples)
    assert tuned.threshold == pytest.approx(0.85)
    again = QuestionAnswering(options=tuned)
    texts = [again.result(extracts(none, 1 - none), ASKED).text for none in (0.8, 0.6, 0.9, 0.95)]
    assert texts == ["Norse", "Norse", "", ""]
    assert QuestionAnswering().tune(results, examples).threshold == 0.5


def test_all_thresholds_are_tried() -> None:
    """Against a fine grid of them."""
    draw = np.random.default_rng(3)
    task = QuestionAnswering(options=QuestionOptions(impossible=True))
    given = [extracts(none, 1 - none) for none in draw.random(40)]
    examples = [example("Norse") if keep else example() for keep in draw.random(40) < 0.5]

    def f1(options: QuestionOptions) -> float:
        asked = QuestionAnswering(options=options)
        return F1.score([asked.result(one, ASKED) for one in given], examples)

    tuned = task.tune([task.result(one, ASKED) for one in given], examples)
    grid = [f1(QuestionOptions(impossible=True, threshold=t)) for t in np.linspace(0, 1, 501)]
    assert f1(tuned) >= max(grid)
    assert max(grid) > f1(task.options) or f1(tuned) == f1(task.options)


def test_trivial_answers() -> None:
    asked = Answered(
        question="Who were the raiders?", context=CONTEXT, answers=Answers(text=("Norse",), answer_start=(40,))
    )
    task = QuestionAnswering(options=QuestionOptions(impossible=True))
    found = task.baselines([], [asked])
    (nearest,) = found["sentence with most question words"]
    assert (nearest.text, nearest.start, nearest.end) == ("They were Norse raiders.", 30, 54)
    assert CONTEXT[30:54] == nearest.text
    assert [answer.text for answer in found["never an answer"]] == [""]
    assert set(QuestionAnswering().baselines([], [asked])) == {"sentence with most question words"}
    (blank,) = QuestionAnswering().baselines([], [asked.model_copy(update={"context": " . "})]).values()
    assert blank[0].text == ""


def test_samples_are_valid() -> None:
    for sample in QuestionAnswering.samples():
        assert Answered.model_validate(sample.model_dump()) == sample
        assert sample.spans


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("《北京大学》，1898 年", "北 京 大 学 1898 年"),
        ("Windows 系统的API", "windows 系 统 的 api"),
        ("ที่นี่", "ที่ นี่"),
        ("the «Cat»", "the cat"),  # articles are English's, and stay
        ("東京タワー。", "東 京 タ ワ ー"),
    ],
)
def test_words_of_languages_without_spaces(text: str, plain: str) -> None:
    assert characters(text) == plain


def test_scores_by_characters_are_mlqas() -> None:
    """By hand: of four characters said, three of the right four; SQuAD's words are equal or not."""
    task = QuestionAnswering(options=QuestionOptions(words="characters"))
    context = "他在北京大学读书。"
    row = Answered(question="?", context=context, answers=Answers(text=("北京大学",), answer_start=(2,)))
    result = Answer("在北京大", 1, 5)
    assert [metric.name for metric in task.metrics] == [metric.name for metric in QuestionAnswering.metrics]
    assert [metric.score([result], [row]) for metric in task.metrics] == [pytest.approx(0.75), 0.0]
    assert F1.score([result], [row]) == 0.0
    assert task.metrics[1].score([Answer("北京大学。", 2, 7)], [row]) == 1.0
    signatures = {metric.signature for metric in (*task.metrics, *QuestionAnswering.metrics)}
    assert len(signatures) == 4
