"""Questions answered in words: what is asked with a context and without, what is refused, and that a rule is learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlpipe import DataError
from nlpipe.data import load_splits
from nlpipe.objectives import CausalText, Seq2SeqText
from nlpipe.objectives.base import Generated, Prompt
from nlpipe.recipe import Recipe
from nlpipe.results import Text
from nlpipe.testing import rules
from nlpipe.testing.tiny import family
from nlpipe_qa import GenerativeQuestionAnswering
from nlpipe_qa.scores import EXACT_MATCH, F1
from tests.support import TRAIN, Trainings
from tests.test_writing_folders import SLOW_LEARNERS, STEPS

Task = GenerativeQuestionAnswering


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    made = rules.first_or_last(count, seed=seed)
    return [{"question": question, "context": context, "answers": [answer]} for question, context, answer in made]


def asked(task: Any, row: dict[str, Any], objective: Any) -> str:
    prompt = task.query(task.Input(**row), objective)
    assert isinstance(prompt, Prompt)
    return "".join(segment.text for segment in prompt.segments)


# Rows and prompts


def test_a_question_is_asked_with_its_context_or_without() -> None:
    row = {"question": "who?", "context": "Ada {was} here."}
    assert asked(Task(), row, Seq2SeqText()) == "question: who? context: Ada {was} here."
    assert asked(Task(), row, CausalText()) == "Ada {was} here.\n\nQuestion: who?\nAnswer:"
    for open_row in ({"question": "who?"}, {"question": "who?", "context": " "}):
        assert asked(Task(), open_row, Seq2SeqText()) == "question: who?"
        assert asked(Task(), open_row, CausalText()) == "Question: who?\nAnswer:"


@pytest.mark.parametrize(
    "answers", ["Ada", ["Ada", "she"], {"text": ["Ada", "she"]}, {"text": ["Ada"], "answer_start": [3]}], ids=str
)
def test_answers_are_one_text_several_or_squads(answers: Any) -> None:
    given = [{"question": "who?", "answers": answers}]
    (read,) = load_splits({"test": given}, Task.Example, {}, seed=1)["test"].examples
    assert Task().gold(read, Seq2SeqText()) == "Ada"  # type: ignore[arg-type]
    assert read == Task.Example.model_validate_json(json.dumps(given[0]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "who?", "answers": ["Ada", " "]}, r"answers\.text\[1\] is empty"),
        ({"question": "who?", "answers": {"texts": ["a"]}}, "texts"),
        ({"question": "who?"}, "answers"),
        ({"answers": ["a"]}, "question"),
        ({"question": 3, "answers": ["a"]}, "question"),
    ],
    ids=str,
)
def test_rows_that_do_not_fit_say_where(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_splits({"train": [row]}, Task.Example, {}, seed=1)


def test_what_has_no_answer_is_refused_or_learnt_by_name() -> None:
    row = Task.Example.model_validate_json('{"question": "who?", "answers": []}')
    with pytest.raises(DataError, match=r"'who\?' has no answer.*task\.no_answer"):
        Task().gold(row, Seq2SeqText())
    task = Task(options=Task.Options(no_answer="unanswerable"))
    assert task.gold(row, Seq2SeqText()) == "unanswerable"
    found = task.result(Generated(" unanswerable", True, (-0.1,)), Task.Input(question="who?"))
    assert found == Text("", True, -0.1)
    assert EXACT_MATCH.score([found], [row]) == F1.score([found], [row]) == 1.0
    with pytest.raises(DataError, match="`question` is empty"):
        task.query(Task.Input(question=" "), Seq2SeqText())


def test_scores_are_squads_over_several_right_answers() -> None:
    row = Task.Example.model_validate_json('{"question": "q", "answers": ["the Cat", "a dog barked"]}')
    said = [Text(text, True, None) for text in ("cat!", "dog", "the dog barked loudly")]
    assert [EXACT_MATCH.score([one], [row]) for one in said] == [1.0, 0.0, 0.0]
    assert [F1.score([one], [row]) for one in said] == pytest.approx([1.0, 2 / 3, 0.8])


def test_scores_count_characters_where_no_spaces_part_words() -> None:
    row = Task.Example.model_validate_json('{"question": "q", "answers": ["東京都"]}')
    spaces, single = Task(), Task(options=Task.Options(words="characters"))
    assert [metric.score([Text("東京", True, None)], [row]) for metric in spaces.metrics] == [0.0, 0.0]
    assert single.metrics[0].score([Text("東京", True, None)], [row]) == pytest.approx(0.8)


def test_of_pieces_the_likeliest_answer_counts() -> None:
    pieces = (Generated("no", True, (-2.0, -2.0)), Generated("yes", True, (-0.1,)), Generated("", True, (-0.01,)))
    whole = Generated("no yes", True, (-2.0, -2.0, -0.1, -0.01), pieces)
    assert Task().result(whole, Task.Input(question="q", context="c")).text == "yes"


# On models


def recipe(architecture: str, **changes: Any) -> Callable[[Path, Path], Recipe]:
    def make(backbone: Path, out: Path) -> Recipe:
        steps = {"steps": STEPS[family(architecture)], **SLOW_LEARNERS.get(architecture, {})}
        train = {**TRAIN, "batch_size": 16, **steps}
        sections: dict[str, Any] = {
            "task": {
                "name": "generative_qa",
                "options": {"template": "{question} {context}", "decoder_template": "{question} {context} :"},
            },
            "model": {"backbone": str(backbone)},
            "data": {"train": rows(2000, 1), "test": rows(150, 2)},
            "train": train,
            "generation": {"max_new_tokens": 6},
            "evaluate": {"bootstrap": 0},
            "run": {"threads": 1},
            "output": {"dir": str(out)},
        }
        return Recipe(**(sections | changes))

    return make


def test_a_long_context_is_read_in_pieces(trainings: Trainings) -> None:
    pipe = trainings.get("generative_qa-bart", "bart", recipe("bart")).load()
    found = pipe({"question": "north", "context": ". ".join(["ba be bi", "do du"] * 30)})
    assert found.seen[0] == found.seen[1] > 64
    assert len(found.text.split()) <= 6  # one answer, and not one for each piece
