"""What people hand in that is odd, wrong or enormous: an answer, or one clear message with the row's number."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from nlpipe import DataError
from nlpipe.data import Split, load_splits
from nlpipe.objectives.base import Text
from nlpipe.pipelines import Pipeline
from nlpipe.preparing import encode, golds
from tests.support import PLUGINS, tiny, untrained

LABELS = {"ner": ("O", "B-x", "I-x"), "classification": ("a", "b")}
TASKS = ("classification", "ner", "qa", "similarity", "retrieval")
QUICK = ("bert", "gpt2", "marian")

ODD = [
    *("", " ", "\n\t", "a", "🦊", "\u200b", "\ufeff", "\x00", "é" * 3, "e\u0301"),
    *("</s>", "[SEP]", "<pad>", "…", "北京", "a 北京 שלום مرحبا नमस्ते Ж ελ", "ba\u202eab\u202c"),
    "x" * 3000,
]


def asked(task: str, text: str) -> dict[str, Any]:
    """An input of a task around a text; in a pair beside a short one."""
    forms: dict[str, dict[str, Any]] = {
        "qa": {"question": "ba?", "context": text},
        "similarity": {"text_a": text, "text_b": "ba"},
        "retrieval": {"query": text},
    }
    return forms.get(task, {"text": text})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def made(task: str, architecture: str, folder: Path, documents: list[str] | None = None) -> Pipeline:
    options = {"impossible": True} if task == "qa" else {}
    pipe = untrained(task, tiny(architecture, folder), LABELS.get(task, ()), **options)
    return pipe.index(["ba", "be ge", *(documents or [])]) if task == "retrieval" else pipe


@pytest.mark.parametrize("architecture", QUICK)
@pytest.mark.parametrize("task", TASKS)
def test_odd_texts_are_answered(task: str, architecture: str, folder: Path) -> None:
    pipe = made(task, architecture, folder, documents=ODD)
    together = pipe([asked(task, text) for text in ODD])
    assert len(together) == len(ODD)
    for text, result in zip(ODD, together, strict=True):
        assert result.seen[0] == result.seen[1]
        assert type(result).from_dict(result.to_dict()) == result
        if task == "qa" and not text.strip():
            assert (result.text, result.start, result.score) == ("", None, 1.0)
        if task == "ner" and not text.strip():
            assert result.spans == ()


WRONG: dict[str, tuple[Any, str]] = {
    "classification": ({"txt": "a"}, "no 'txt'; did you mean 'text'"),
    "ner": ({"text": "a", "tokens": ["a"]}, "both, `text` and `tokens`"),
    "qa": ({"question": "a"}, "context +is missing"),
    "similarity": ({"text_a": "a"}, "text_b +is missing"),
    "retrieval": ({"query": 5}, "query +must be text, is 5"),
}


@pytest.mark.parametrize("task", TASKS)
def test_inputs_that_are_none_are_told_by_number(task: str, folder: Path) -> None:
    pipe = made(task, "bert", folder)
    good = asked(task, "ba")
    for wrong, message in [
        WRONG[task],
        (None, "is a (text or a )?mapping"),
        (7, "is a (text or a )?mapping"),
        (b"ba", "is a (text or a )?mapping"),
        ([good], "is a (text or a )?mapping"),
        (asked(task, "\ud800"), "half a character"),
    ]:
        with pytest.raises(DataError, match=rf"(?s)input 1: .*{message}"):
            pipe([good, wrong])
        assert next(pipe.map([wrong, good], errors="skip")) is None
    assert pipe([]) == []


ROWS: dict[str, tuple[Any, list[tuple[Any, str]]]] = {
    "classification": (
        {"text": "a", "label": "a"},
        [
            ({"text": "a"}, "`label` is missing"),
            ({"text": "a", "label": " "}, "`label` is empty|does not occur"),
            ({"text": "a", "label": "c"}, "label 'c' does not occur in training; .*there are: a, b"),
            ({"text": None, "label": "a"}, "text +is empty"),
            ({"text": ["a"], "label": "a"}, "text +must be text, is "),
            ({"text": "a", "labels": ["a"]}, r"`label` is missing \(for several labels per row"),
        ],
    ),
    "ner": (
        {"tokens": ["a"], "tags": ["O"], "text": None, "spans": None},
        [
            ({"tokens": ["a", "b"], "tags": ["O"]}, "has 2 tokens and 1 tags"),
            ({"text": "abc", "spans": [{"start": 0, "end": 9, "label": "x"}]}, r"spans\[0\] is 0 to 9; the text has 3"),
            ({"text": "abc d", "spans": [{"start": 1, "end": 3, "label": "x"}]}, "ends within a word; in whole words"),
            ({"tokens": ["a"], "tags": ["B-z"]}, "'z' does not occur in training"),
        ],
    ),
    "qa": (
        {"question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}},
        [
            ({"question": "q", "answers": {"text": ["b"], "answer_start": [2]}}, "context +is (missing|empty)"),
            (
                {"question": "q", "context": "a", "answers": {"text": ["b"], "answer_start": [0]}},
                "does not occur in the",
            ),
            (
                {"question": "q", "context": "", "answers": {"text": ["b"], "answer_start": [0]}},
                "does not occur in the",
            ),
            ({"question": "", "context": "a", "answers": {"text": ["a"], "answer_start": [0]}}, "`question` is empty"),
            (
                {"question": "q", "context": "a", "answers": {"text": [], "answer_start": []}},
                "has no answer. Leave such",
            ),
        ],
    ),
    "similarity": (
        {"text_a": "a", "text_b": "b", "score": 1},
        [
            ({"text_a": "a", "text_b": "b", "score": 9}, "`score` is 9, outside the range from 0 to 5"),
            ({"text_a": "a", "text_b": "b"}, "`score` is missing"),
            ({"text_a": "a", "text_b": "b", "score": "high"}, "score +must be a number"),
        ],
    ),
    "retrieval": (
        {"query": "a", "positive": "b"},
        [({"query": "a"}, "`positive` is missing"), ({"query": "a", "positive": 3}, "positive +must be text")],
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_rows_that_do_not_fit_are_told_by_number(task: str) -> None:
    kind = PLUGINS.task(task)
    options = kind.Options(scale=(0, 5)) if task == "similarity" else kind.Options()
    configured = kind(LABELS.get(task, ()), options)
    objective = configured.objective(kind.row()["encoder"][0])  # type: ignore[index]
    good, wrong = ROWS[task]
    for row, message in wrong:
        with pytest.raises(DataError, match=f"(?s)row 2.*{message}"):
            golds(configured, objective, load_splits({"test": [good, row]}, kind.Example, {}, seed=1)["test"])


def _long(kind: str, size: int) -> str:
    """Words, one word, letters of a script without spaces, or a stack of marks on one letter."""
    if kind == "words":
        return ("north ba's ge, go. 3.14 " * (size // 20))[:size].strip()
    return {"one word": "x" * size, "no spaces": "北京大学" * (size // 4), "marks": "e" + "\u0301" * size}[kind]


LONG = ("words", "one word", "no spaces", "marks")


def check_long(task: str, architecture: str, kind: str, size: int, folder: Path) -> None:
    text = _long(kind, size)
    pipe = made(task, architecture, folder, documents=[text])
    result = pipe(asked(task, text))
    assert result.seen[0] == result.seen[1]  # nothing is cut
    if task == "ner":
        assert all(text[span.start : span.end] == span.text for span in result.spans)
    if task == "qa" and result.text:
        assert text[result.start : result.end] == result.text


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("task", TASKS)
def test_long_texts_are_read_whole(task: str, kind: str, folder: Path) -> None:
    check_long(task, "bert", kind, 20_000, folder)


# A million tokens where no space parts them: the tasks that answer with offsets show it for all.
MILLION = [
    *[(task, kind, "bert") for task in TASKS for kind in LONG if kind != "no spaces" or task in ("ner", "qa")],
    *[("ner", "one word", "gpt2"), ("ner", "one word", "llama"), ("ner", "words", "t5"), ("ner", "words", "marian")],
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "kind", "architecture"), MILLION, ids=map("-".join, MILLION))
def test_a_million_characters_are_read_whole(task: str, kind: str, architecture: str, folder: Path) -> None:
    check_long(task, architecture, kind, 1_000_000, folder)


def test_a_row_with_thousands_of_entities() -> None:
    """Spans are placed and freed of overlaps without comparing each with each word or each other."""
    kind: Any = PLUGINS.task("ner")
    text = "ab " * 30_000
    spans = [{"start": 3 * at, "end": 3 * at + 2, "label": "x"} for at in range(30_000)]
    row = load_splits({"test": [{"text": text, "spans": spans}]}, kind.Example, {}, seed=1)["test"].examples[0]
    task = kind(LABELS["ner"])
    assert task.gold(row, task.objective(kind.row()["encoder"][0])) == [1] * 30_000


def test_all_rows_that_the_model_cannot_take_are_named_at_once() -> None:
    """Not one after the other, each after a run of its own."""

    def encoded(query: Text, gold: str, tok: Any) -> list[str]:
        if "long" in query.first:
            raise DataError(f"{query.first} is too long")
        return [query.first]

    task: Any = SimpleNamespace(
        gold=lambda example, objective: example,
        given=lambda example: example,
        query=lambda given, objective: Text(given),
        notes=lambda examples, options: (),
        options=None,
    )
    objective: Any = SimpleNamespace(encode=encoded, settle=lambda golds: "settled")
    base: Any = SimpleNamespace(tokenizers=None)
    texts: list[Any] = ["a", *(f"long {n}" for n in range(7)), "b"]
    rows = list(range(1, 10))
    split = Split("train", "rows.jsonl", texts, pd.DataFrame({"text": texts}), rows)
    with pytest.raises(DataError) as error:
        encode(task, objective, base, split)
    told = str(error.value)
    assert "rows.jsonl (train) has rows that cannot be used" in told
    assert all(f"row {number}" in told for number in (2, 3, 4, 5, 6))
    assert "and 2 more rows" in told
    short = Split("train", "rows.jsonl", ["a", "b"], pd.DataFrame({"text": ["a", "b"]}), [1, 2])
    assert encode(task, objective, base, short) == ([["a"], ["b"]], "settled")
