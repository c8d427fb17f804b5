"""What a Python service meets: one input or many, clear refusals, any order, any thread."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nlpipe
from nlpipe import DataError, Label, UnsupportedError
from nlpipe.answering import LOOK_AHEAD
from nlpipe.card import CARD
from nlpipe.errors import ArtifactError
from nlpipe.inputs import as_input
from nlpipe.objectives.base import Text
from nlpipe.pipelines import Pipeline
from nlpipe.results import to_arrow
from nlpipe.task import Record
from nlpipe.testing.rules import first_keyword
from tests.support import Trainings

TEXTS = [text for text, _ in first_keyword(50, seed=4)]


@pytest.fixture(scope="module")
def model(trainings: Trainings) -> Path:
    return trainings.get("bert", "bert").model


@pytest.fixture(scope="module")
def pipe(model: Path) -> Pipeline:
    return nlpipe.load(model)


def test_one_many_and_none(pipe: Pipeline) -> None:
    one = pipe("ba north be south")
    assert isinstance(one, Label)
    assert one.label == "north"
    assert one.score == one.scores["north"] == max(one.scores.values())
    assert sum(one.scores.values()) == pytest.approx(1)
    assert pipe({"text": "ba north be south"}) == one == pipe(pipe.task.Input(text="ba north be south"))
    assert pipe([]) == []
    assert [r.label for r in pipe(["ba north be south", "south ba north"])] == ["north", "south"]
    assert json.loads(json.dumps(one.to_dict())) == one.to_dict()
    assert Label.from_dict(one.to_dict()) == one


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "a text or a mapping with text, text_pair, not NoneType"),
        (3, "not int"),
        (b"bytes", "not bytes"),
        ([["nested"]], "not list"),
        ({"txt": "a"}, "no 'txt'; did you mean 'text'"),
        ({"text": 3}, "text"),
        ({}, "text"),
        ({"text": "a", "label": "b"}, "no 'label'"),
    ],
)
def test_what_is_no_input(pipe: Pipeline, given: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        pipe(given)
    assert message in str(caught.value)
    assert "input 0" in str(caught.value)


def test_unknown_options_are_refused(pipe: Pipeline) -> None:
    with pytest.raises(UnsupportedError, match="temperature"):
        pipe("a", temperature=1.0)


def test_odd_texts_are_answered(pipe: Pipeline) -> None:
    odd = ["", " ", "\n", "🦊" * 50, "שלום עולם", "a\u0301" * 20, "\u200b", "x" * 10_000, "north " * 2000]
    for result in pipe(odd):
        assert result.label in pipe.card.labels
        assert result.seen[0] == result.seen[1]


def test_map_is_lazy_keeps_order_and_skips(pipe: Pipeline) -> None:
    taken = 0

    def source() -> Iterator[Any]:
        nonlocal taken
        for index in range(3 * LOOK_AHEAD):
            taken += 1
            yield TEXTS[index % len(TEXTS)] if index != 5 else None

    results = pipe.map(source(), errors="skip")
    first = [next(results) for _ in range(20)]
    assert taken == 2 * LOOK_AHEAD
    assert first[5] is None
    expected = pipe(TEXTS[:20])
    assert [r.label for i, r in enumerate(first) if r and i != 5] == [r.label for i, r in enumerate(expected) if i != 5]
    with pytest.raises(DataError, match="input 5"):
        list(pipe.map(source()))


def test_memory_does_not_grow_with_the_input(pipe: Pipeline) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        for _ in pipe.map("ba" for _ in range(rows)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(LOOK_AHEAD)
    assert peak(6 * LOOK_AHEAD) < 1.5 * peak(2 * LOOK_AHEAD)


def test_frame(pipe: Pipeline) -> None:
    frame = pd.DataFrame({"text": TEXTS[:5], "label": list("abcde")}, index=[3, 1, 4, 1, 5])
    found = pipe.frame(frame)
    assert list(found.index) == [3, 1, 4, 1, 5]
    assert list(found["label"]) == list("abcde")
    assert list(found["predicted_label"]) == [r.label for r in pipe(TEXTS[:5])]
    assert list(pipe.frame(frame.iloc[:0]).columns)[:2] == ["text", "label"]


def test_threads_get_the_answers_of_their_own_texts(pipe: Pipeline) -> None:
    expected = pipe(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pipe, TEXTS))
    assert [r.label for r in found] == [r.label for r in expected]


def test_long_can_be_set_when_loading(model: Path) -> None:
    text = " ".join(["ba"] * 500)
    assert nlpipe.load(model)(text).seen[0] >= 500
    cut = nlpipe.load(model, long="truncate")(text)
    assert cut.seen[0] < 64 < cut.seen[1]
    with pytest.raises(DataError, match=r"input 0: the text has \d+ tokens, the model reads 64"):
        nlpipe.load(model, long="error")(text)


def test_a_model_that_nlpipe_did_not_write(model: Path, pipe: Pipeline, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(model, plain)
    (plain / CARD).unlink()
    with pytest.raises(ArtifactError, match=r"no nlpipe.json.*nlpipe.pipeline"):
        nlpipe.load(plain)
    other = nlpipe.pipeline("classification", model=plain)
    assert [r.scores for r in other(TEXTS)] == [r.scores for r in pipe(TEXTS)]


def test_damaged_model_folders(model: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        shutil.copytree(model, tmp_path / name)
        return tmp_path / name

    newer = copy("newer")
    card = json.loads((newer / CARD).read_text())
    (newer / CARD).write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(ArtifactError, match=r"format 99.*update nlpipe"):
        nlpipe.load(newer)
    broken = copy("broken")
    (broken / CARD).write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        nlpipe.load(broken)
    torn = copy("torn")
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"model.safetensors is damaged or cut off .*: copy or download it again"):
        nlpipe.load(torn)
    pickled = copy("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="a pickle"):
        nlpipe.load(pickled)
    wordless = copy("wordless")
    for file in wordless.glob("*token*"):
        file.unlink()
    with pytest.raises(ArtifactError, match="no tokenizer"):
        nlpipe.load(wordless)


def test_a_task_that_is_not_installed(model: Path) -> None:
    without = nlpipe.plugins.Plugins.discover(blocked=["classification"])  # type: ignore[attr-defined]
    with pytest.raises(nlpipe.PluginError, match="classification"):
        nlpipe.load(model, plugins=without)


def test_a_device_or_dtype_that_is_not_there(model: Path) -> None:
    with pytest.raises(UnsupportedError, match="not on this machine"):
        nlpipe.load(model, device="cuda:7")
    with pytest.raises(UnsupportedError, match="unknown dtype"):
        nlpipe.load(model, dtype="float12")


@dataclass(frozen=True)
class _Halves:
    """A task that asks again about half of the words until few are left: a map-reduce."""

    inner: Any
    name = "halves"

    def query(self, given: Any, objective: Any) -> Text:
        return Text(given.text)

    def result(self, answer: Any, given: Any) -> Any:
        return self.inner.result(answer, given)


def test_a_task_may_ask_again(model: Path) -> None:
    pipe = nlpipe.load(model)
    asked: list[str] = []
    inner = pipe.task

    class Halves(_Halves):
        Input = inner.Input

        def result(self, answer: Any, given: Any) -> Any:
            words = (asked[-1] if asked else given.text).split()
            if len(words) > 2:
                asked.append(" ".join(words[: len(words) // 2]))
                return Text(asked[-1])
            return super().result(answer, given)

    pipe.task = Halves(inner)  # type: ignore[assignment]
    result = pipe("north ba be bi bo bu da de south")
    assert asked == ["north ba be bi", "north ba"]
    assert result.label == "north"
    assert result.seen[1] == 9, "what is reported as seen is the text that was given"
    endless = replace(pipe.task, inner=inner)
    object.__setattr__(endless, "result", lambda answer, given: Text("again"))
    pipe.task = endless
    with pytest.raises(UnsupportedError, match="asked again more than"):
        pipe("a")


def test_as_input_takes_its_own_record(pipe: Pipeline) -> None:
    given: Record = pipe.task.Input(text="a", text_pair="b")
    assert as_input(given, pipe.task) is given


def test_the_task_is_read_off_the_model(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    from nlpipe.testing.tiny import tiny_model

    def headed(name: str, kind: Any) -> Path:
        folder = tiny_model("bert", tmp_path / name, words=["ba", "be"])
        config = AutoConfig.from_pretrained(folder, id2label={0: "O", 1: "B-x", 2: "I-x"})
        kind.from_config(config).save_pretrained(folder)
        return folder

    tags = headed("tags", AutoModelForTokenClassification)
    assert nlpipe.pipeline(model=tags).task.name == "ner"
    assert nlpipe.pipeline(model=headed("labels", AutoModelForSequenceClassification)).task.name == "classification"
    with pytest.raises(ArtifactError, match=r"no head for qa\..*It fits: ner\."):
        nlpipe.pipeline("qa", model=tags)
    with pytest.raises(ArtifactError, match=r"can be asked as .*generation, .*summarization.*: say which"):
        nlpipe.pipeline(model=tiny_model("gpt2", tmp_path / "gpt2", words=["ba"]))


def test_the_task_of_our_own_model_is_known(model: Path, pipe: Pipeline) -> None:
    assert nlpipe.pipeline(model=model)(TEXTS[0]) == pipe(TEXTS[0])


def test_results_go_to_json_and_arrow(pipe: Pipeline) -> None:
    results = pipe(TEXTS[:3])
    assert Label.from_dict(json.loads(results[0].to_json())) == results[0]
    table = to_arrow(results)
    assert table.column("label").to_pylist() == [result.label for result in results]
    assert table.column("scores").to_pylist() == [dict(result.scores) for result in results]
