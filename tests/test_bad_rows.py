"""Rows that are wrong, on the command line: one message with the row's number in training, scoring and answering.

What is odd but no mistake (other scripts, empty texts where they mean something, one-token texts) is answered.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from nlpipe import cli
from nlpipe.running import run
from nlpipe.testing.subjects import rows_of
from tests.support import PLUGINS, tiny
from tests.test_cli import Command, nlpipe, refused

__all__ = ["nlpipe"]

Row = dict[str, Any]

BACKBONES = {
    **dict.fromkeys(("classification", "ner", "qa", "similarity", "retrieval"), "bert"),
    **dict.fromkeys(("summarization", "translation", "generative_qa"), "t5"),
    **dict.fromkeys(("generation", "language_modelling"), "gpt2"),
}
GOOD: dict[str, Sequence[Row]] = {
    "classification": [{"text": "ba be", "label": "a"}, {"text": "bi", "label": "b"}],
    "ner": [{"text": "in London", "spans": [{"start": 3, "end": 9, "label": "place"}]}, {"text": "ba", "spans": []}],
    "summarization": [{"document": "ba be. bi bo.", "summary": "ba"}] * 2,
    "generation": [{"prompt": "ba", "completion": "be"}] * 2,
    "generative_qa": [{"question": "ba?", "context": "be bi", "answers": "be"}, {"question": "bo?", "answers": "bi"}],
}


def told(text: str, answers: Any = (), starts: Any = (0,)) -> Row:
    """A row of SQuAD's form."""
    return {"question": "ba?", "context": text, "answers": {"text": list(answers), "answer_start": list(starts)}}


def spans(text: str, *places: tuple[int, int]) -> Row:
    return {"text": text, "spans": [{"start": start, "end": end, "label": "place"} for start, end in places]}


# Wrong in its gold: refused by `run` and `evaluate`. `predict` does not look at golds.
WRONG: dict[str, list[tuple[Row, str]]] = {
    "classification": [
        ({"text": "ba"}, "`label` is missing"),
        ({"text": "ba", "label": " "}, "`label` is empty"),
    ],
    "ner": [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "has 2 tokens and 1 tags"),
        ({"tokens": ["a"], "tags": ["place"]}, "a tag is O, or B-, I-"),
        (spans("abc", (0, 9)), "is 0 to 9; the text has 3 characters"),
        (spans("New York", (1, 8)), "ends within a word; in whole words it is 'New York'"),
        ({"text": "ba"}, "`spans` is missing; a text without entities has []"),
    ],
    "qa": [
        (told("be bi", ["bo"]), "it does not occur in the context at all"),
        (told("be bi", ["bi"]), "it occurs at 3"),
        (told("be", ["be"], [0, 1]), "1 texts and 2 answer_starts"),
        (told("be", [], []), "has no answer. Leave such rows out, or set task.impossible"),
    ],
    "similarity": [
        ({"text_a": "ba", "text_b": "be"}, "`score` is missing"),
        ({"text_a": "ba", "text_b": "be", "score": "high"}, "must be a number"),
    ],
    "retrieval": [({"query": "ba"}, "`positive` is missing")],
    "summarization": [
        ({"document": "ba", "summary": " "}, "missing or empty"),
        ({"document": "ba"}, "missing or empty"),
    ],
    "translation": [({"source": "ba", "target": ""}, "missing or empty"), ({"source": "ba"}, "missing or empty")],
    "generation": [({"prompt": "ba", "completion": ""}, "missing or empty"), ({"prompt": "ba"}, "missing or empty")],
    "generative_qa": [({"question": "ba", "answers": [""]}, "is empty"), ({"question": "ba", "answers": []}, "has no")],
}

# Nothing that a model could be asked: refused by all three, `predict` puts the row to its errors and goes on.
UNASKED: dict[str, list[tuple[Row, str]]] = {
    "classification": [({"text": 5, "label": "a"}, "must be text, is 5")],
    "ner": [({"tokens": ["a", ""], "tags": ["O", "O"]}, "tokens[1] is empty")],
    "qa": [
        ({"question": "ba?", "context": None, "answers": {"text": ["be"], "answer_start": [0]}}, "is empty"),
        ({**told("be", ["be"]), "question": " "}, "`question` is empty"),
    ],
    "similarity": [({"text_a": "ba", "text_b": None, "score": 1.0}, "is empty")],
    "retrieval": [({"query": None, "positive": "ba"}, "is empty")],
    "summarization": [({"document": " ", "summary": "ba"}, "`document` is empty")],
    "translation": [({"source": "\n", "target": "ba"}, "`source` is empty")],
    "generation": [({"completion": "ba"}, "neither")],
    "generative_qa": [({"question": "", "answers": "ba"}, "`question` is empty")],
    "language_modelling": [({"text": 7}, "must be text, is 7")],
}

# Odd, and answered: by `evaluate` and `predict` alike.
ODD: dict[str, list[Row]] = {
    "classification": [
        {"text": "北京 שלום नमस्ते ba", "label": "a"},
        {"text": "", "label": "b"},
        {"text": "b", "label": "a"},
    ],
    "ner": [spans("北京 שלום ba", (0, 2)), spans(""), {"tokens": [], "tags": []}, spans("b", (0, 1))],
    "qa": [told("ba שלום 北京", ["שלום"], [3]), told("b", ["b"])],
    "similarity": [{"text_a": "北京", "text_b": "שלום", "score": 2.0}, {"text_a": "", "text_b": "", "score": 2.0}],
    "retrieval": [{"query": "北京 ba", "positive": "שלום"}, {"query": "", "positive": "ba"}],
    "summarization": [{"document": "北京 שלום. ba", "summary": "北京"}, {"document": "b", "summary": "b"}],
    "translation": [{"source": "北京 שלום", "target": "नमस्ते"}, {"source": "b", "target": "b"}],
    "generation": [{"prompt": "北京 שלום", "completion": "नमस्ते"}, {"prompt": "", "completion": "b"}],
    "generative_qa": [{"question": "北京?", "context": "שלום", "answers": "ש"}, {"question": "b", "answers": "b"}],
    "language_modelling": [{"text": "北京 שלום नमस्ते"}, {"text": "b"}],
}


def lines(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def good(task: str) -> Sequence[Row]:
    return GOOD.get(task) or rows_of(PLUGINS.task(task).samples()[:2])


def sections(task: str, folder: Path, train: Path, out: Path) -> Row:
    writes = {} if task == "language_modelling" or BACKBONES[task] == "bert" else {"generation": {"max_new_tokens": 2}}
    return {
        "version": 1,
        "task": task,
        "model": {"backbone": str(tiny(BACKBONES[task], folder))},
        "data": {"train": str(train), "check": "off"},
        "train": {"steps": 1, "batch_size": 4},
        "output": {"dir": str(out)},
        **writes,
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model of each task that has learnt for one step."""
    from nlpipe.recipe import build

    folder = tmp_path_factory.mktemp("models")

    @cache
    def made(task: str) -> Path:
        train = lines(folder / f"{task}.jsonl", good(task))
        found = run(build(sections(task, folder, train, folder / task), PLUGINS.tasks)).model
        assert found is not None
        return found

    return made


def cases(table: dict[str, list[Any]]) -> Any:
    flat = [(task, *(one if isinstance(one, tuple) else (one,))) for task, rows in table.items() for one in rows]
    return [pytest.param(*case, id=f"{case[0]}-{number}") for number, case in enumerate(flat)]


@pytest.mark.parametrize(("task", "row", "message"), [*cases(WRONG), *cases(UNASKED)])
def test_run_and_evaluate_name_the_row(
    task: str, row: Row, message: str, model: Callable[[str], Path], nlpipe: Command, tmp_path: Path
) -> None:
    first, second = good(task)
    bad = lines(tmp_path / "bad.jsonl", [first, row, second])
    recipe = tmp_path / "recipe.yaml"
    folder = model(task).parents[1]
    for part in ("train", "test"):
        settings = sections(task, folder, bad if part == "train" else folder / f"{task}.jsonl", tmp_path / "run")
        settings["data"][part] = str(bad)
        recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
        refused(nlpipe("run", recipe, "-q"), "bad.jsonl", "row 2", message)
    assert not (tmp_path / "run").exists()  # nothing was trained first
    refused(nlpipe("evaluate", model(task), "--data", bad), "bad.jsonl", "row 2", message)


def test_a_score_outside_its_range(model: Callable[[str], Path], nlpipe: Command, tmp_path: Path) -> None:
    first, second = good("similarity")
    bad = lines(tmp_path / "bad.jsonl", [first, {"text_a": "ba", "text_b": "be", "score": 99}, second])
    settings = sections("similarity", model("similarity").parents[1], bad, tmp_path / "run")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**settings, "task": {"name": "similarity", "scale": [0, 5]}}), encoding="utf-8")
    refused(nlpipe("run", recipe, "-q"), "row 2", "`score` is 99, outside the range from 0 to 5")
    refused(
        nlpipe("evaluate", model("similarity"), "--data", bad), "row 2", "`score` is 99, outside the range from 1.5"
    )


@pytest.mark.parametrize(("task", "row", "message"), cases(UNASKED))
def test_predict_names_the_row_and_goes_on(
    task: str, row: Row, message: str, model: Callable[[str], Path], nlpipe: Command, tmp_path: Path
) -> None:
    first, second = good(task)
    bad, out = lines(tmp_path / "bad.jsonl", [first, row, second]), tmp_path / "out.jsonl"
    more = ["--collection", lines(tmp_path / "corpus.jsonl", [{"_id": "x", "text": "ba"}])] * (task == "retrieval")
    ended = nlpipe("predict", model(task), "--input", bad, "--output", out, "-q", *more)
    assert ended.code == 0, ended.err
    assert "1 row could not be answered" in ended.err
    (error,) = [json.loads(line) for line in (tmp_path / "out.errors.jsonl").read_text().splitlines()]
    assert error["row"] == 2
    assert message in error["reason"] or "no column" in error["reason"]
    assert len(out.read_text().splitlines()) == 2
    if task == "retrieval":
        assert json.loads(out.read_text().splitlines()[0])["documents"][0]["id"] == "x"
        refused(nlpipe("predict", model(task), "--input", bad, "--output", out), "--collection FILE")
    else:
        corpus = lines(tmp_path / "corpus.jsonl", [{"text": "ba"}])
        refused(nlpipe("predict", model(task), "--input", bad, "--collection", corpus), "answers from no collection")
    refused(nlpipe("predict", model(task), "--input", bad, "--output", "-", "-q", *more), "row 2", message)


@pytest.mark.parametrize("task", BACKBONES)
def test_odd_rows_are_answered(task: str, model: Callable[[str], Path], nlpipe: Command, tmp_path: Path) -> None:
    rows, out = lines(tmp_path / "odd.jsonl", [*good(task), *ODD[task]]), tmp_path / "out.jsonl"
    more = ["--collection", lines(tmp_path / "corpus.jsonl", [{"text": "ba"}])] * (task == "retrieval")
    ended = nlpipe("predict", model(task), "--input", rows, "--output", out, "-q", *more)
    assert (ended.code, ended.err) == (0, "")
    assert len(out.read_text().splitlines()) == 2 + len(ODD[task])
    ended = nlpipe("evaluate", model(task), "--data", rows, "--bootstrap", "0", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["n"] == 2 + len(ODD[task])


def test_what_is_done_to_rows_is_told_and_kept(
    nlpipe: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for each kind of repair, with the rows' numbers: on the terminal, in the log and in the report."""
    tags = [["B-place", "O"], ["I-place", "O"], ["O", "I-place"], *[["B-place", "I-place"]] * 3, ["O", "I-place"]]
    rows = lines(tmp_path / "rows.jsonl", [{"tokens": ["ba", "be"], "tags": list(row)} for row in tags])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(sections("ner", tmp_path, rows, tmp_path / "run")), encoding="utf-8")
    ended = nlpipe("run", recipe, "--set", f"data.test={rows}")
    assert ended.code == 0, ended.err
    told = (
        "3 tags in 3 rows are ill-formed IOB2 and were repaired as conlleval reads them; the first is I-place at 'ba'"
    )
    for split in ("train", "test"):
        assert f"{rows} ({split}): {told} (rows 2, 3, 7)" in caplog.messages
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    notes = [event for event in events if event["event"] == "RowsNoted"]
    assert [(note["split"], note["what"], note["count"], note["rows"]) for note in notes] == [
        (split, told, 3, [2, 3, 7]) for split in ("train", "test")
    ]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Rows to know of" in page
    assert "2, 3, 7" in page


def test_a_message_is_a_line_however_narrow_the_terminal() -> None:
    out = io.StringIO()
    handler = cli._Lines(console=Console(file=out, width=30, soft_wrap=True, highlight=False))
    handler.emit(logging.LogRecord("nlpipe", logging.WARNING, "", 0, "[3] rows %s", ("of many words " * 5,), None))
    assert out.getvalue() == f"WARNING [3] rows {'of many words ' * 5}\n"
