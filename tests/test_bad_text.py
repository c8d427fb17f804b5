"""What the tasks that write or read texts make of odd ones: an answer, or one clear message; never a crash or a cut."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import nlpipe
from nlpipe import DataError, NlpipeError, Pipeline
from nlpipe.data import load_splits
from nlpipe.plugins import Plugins
from nlpipe.testing import rules
from nlpipe.testing.tiny import tiny_model

TASKS = {
    "generation": "prompt",
    "summarization": "document",
    "translation": "source",
    "generative_qa": "question",
    "language_modelling": "text",
}
ODD = [
    "a",
    "🦊",
    "é",
    "Zoë говорит 日本語 و العربية 🎉 ok",
    "a\tb\r\nc\x0bd\x00e",
    "שלום" * 3,
    "</s> <pad> [MASK] <|endoftext|> <extra_id_0> {document} {{}}",
    "a\u200d\u0301\ufeff\u202e b",
    "." * 50,
]


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Pipeline]:
    """Every task on an untrained decoder and an untrained pair."""
    folder = tmp_path_factory.mktemp("odd")
    made = {}
    for name in ("gpt2", "t5"):
        backbone = tiny_model(name, folder / name, words=rules.FILLERS, positions=512)
        made |= {(task, name): nlpipe.pipeline(task, model=backbone) for task in TASKS}
    return made


cells = pytest.mark.parametrize(("task", "name"), [(task, name) for task in TASKS for name in ("gpt2", "t5")])


def settings(task: str) -> dict[str, Any]:
    return {} if task == "language_modelling" else {"max_new_tokens": 3}


@cells
def test_odd_texts_are_answered_alone_and_together(
    task: str, name: str, pipes: dict[tuple[str, str], Pipeline]
) -> None:
    pipe = pipes[task, name]
    together = pipe([{TASKS[task]: text} for text in ODD], **settings(task))
    for text, found in zip(ODD, together, strict=True):
        assert found.seen[0] == found.seen[1] > 0
        alone = pipe(text, **settings(task))
        if task == "language_modelling":
            assert alone.log_probability == pytest.approx(found.log_probability, rel=1e-4)
            assert 1.0 <= found.perplexity < math.inf
        else:
            assert alone.text == found.text


@cells
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty_texts_are_refused_with_their_number(
    task: str, name: str, text: str, pipes: dict[tuple[str, str], Pipeline]
) -> None:
    """But for generation: what comes after nothing may be asked."""
    pipe = pipes[task, name]
    if task == "generation":
        assert isinstance(pipe(text, max_new_tokens=3).text, str)
        return
    with pytest.raises(DataError, match=f"input 1: `{TASKS[task]}` is empty"):
        pipe(["ba", text], **settings(task))
    assert pipe.map(["ba", text], errors="skip", **settings(task)) is not None
    assert [found is None for found in pipe.map(["ba", text], errors="skip", **settings(task))] == [False, True]


@pytest.mark.slow
@cells
def test_a_million_characters_are_an_answer_or_a_message(
    task: str, name: str, pipes: dict[tuple[str, str], Pipeline]
) -> None:
    pipe, text = pipes[task, name], "ba be bi. " * 100_000
    if task == "generation" or task == "generative_qa":  # a prompt, and a question, are read whole or not at all
        with pytest.raises(DataError, match=r"tokens, the model reads .* beside its answer"):
            pipe(text, **settings(task))
        if task == "generation":
            return
        found = pipe({"question": "ba?", "context": text}, **settings(task))  # its context is read in pieces
    elif task == "summarization":  # a random model does not shorten: its pieces' answers are the answer, or it says so
        try:
            found = pipe(text, **settings(task))
        except NlpipeError as error:
            assert len(str(error).splitlines()) <= 3
            return
    else:
        found = pipe(text, **settings(task))
    assert found.seen[0] == found.seen[1] > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_a_word_of_a_million_letters(name: str, pipes: dict[tuple[str, str], Pipeline]) -> None:
    found = pipes["translation", name]("x" * 1_000_000, max_new_tokens=1)
    assert found.seen[0] == found.seen[1] > 1000


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("generation", {"completion": "a"}, "neither"),
        ("generation", {"prompt": 3, "completion": "a"}, "prompt"),
        ("generation", {"messages": [{"role": "robot", "content": "a"}], "completion": "b"}, "role"),
        ("generation", {"messages": "hello", "completion": "b"}, "messages"),
        ("summarization", {"summary": "a"}, "document"),
        ("summarization", {"document": "a", "summaries": "b"}, "summaries"),
        ("translation", {"target": "a"}, "source"),
        ("translation", {"source": "a", "target": ["b"]}, "target"),
        ("language_modelling", {"txt": "a"}, "text"),
        ("language_modelling", {"text": None}, "text"),
    ],
    ids=str,
)
def test_rows_of_the_wrong_form_are_named(task: str, row: dict[str, Any], message: str) -> None:
    kind: Any = Plugins.discover().tasks[task]
    with pytest.raises(DataError, match=message):
        split = load_splits({"train": [row]}, kind.Example, {}, seed=1)["train"]
        for example in split.examples:
            made = kind()
            objective = made.objective(next(iter(kind.row().values()))[0])
            made.query(made.given(example), objective)


def test_a_text_that_is_empty_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from nlpipe.recipe import Recipe
    from nlpipe.running import run

    backbone = tiny_model("gpt2", tmp_path / "gpt2", words=rules.FILLERS)
    recipe = Recipe(
        task="language_modelling",  # type: ignore[arg-type]
        model={"backbone": str(backbone)},  # type: ignore[arg-type]
        data={"train": [{"text": "ba be"}, {"text": " "}, {"text": "bi"}]},  # type: ignore[arg-type]
        train={"steps": 1},  # type: ignore[arg-type]
        output={"dir": str(tmp_path / "run")},  # type: ignore[arg-type]
    )
    assert run(recipe).finished
    assert "1 empty row left out" in caplog.text
