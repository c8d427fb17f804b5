"""docs/labels.md and docs/similarity.md are true: their Python and their commands run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from nlpipe.running import run
from tests.support import TRAIN, Trainings, recipe, tiny
from tests.test_classification import _several
from tests.test_cli import Command, nlpipe
from tests.test_formats import SQUAD
from tests.test_zero_shot import _inference

__all__ = ["nlpipe"]  # a fixture

DOCS = Path(__file__).parent.parent / "docs"
CONLL = "Ada\tB-person\nin\tO\nRome\tB-place\n\nba\tO\n"
QUESTION = {"question": "who", "context": "Ada in Rome", "answers": {"text": ["Ada"], "answer_start": [0]}}
ENTITIES = {"tokens": ["Ada", "in", "Rome"], "tags": ["B-person", "O", "B-place"]}


@pytest.fixture(scope="module")
def workplace(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders and files that the page names."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "runs" / "topics").mkdir(parents=True)
    (folder / "runs" / "topics" / "model").symlink_to(trainings.get("several", "bert", _several).model)
    shutil.copytree(trainings.get("inference", "bert", _inference).model, folder / "runs" / "inference")
    (folder / "runs" / "inference" / "nlpipe.json").unlink()
    for task, row in (("ner", ENTITIES), ("qa", QUESTION)):
        asked: Any = {"name": task, "options": {"impossible": True}} if task == "qa" else task
        data = {"train": [row] * 8, "test": [row]}
        settings = {**TRAIN, "steps": 4, "batch_size": 4}
        run(recipe(tiny("bert", trainings.folder), folder / "runs" / task, task=asked, data=data, train=settings))
    (folder / "dev.conll").write_text(CONLL)
    (folder / "dev.json").write_text(json.dumps(SQUAD))
    return folder


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_s_python_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    code = blocks("labels.md", "python")
    assert len(code) == 4
    for block in code:
        exec(block, names)
        if "found" in names:
            assert names["found"].labels == ("north", "south")
    assert names["judge"]("ba north be").label == "north"


def test_the_page_s_commands_run(workplace: Path, monkeypatch: pytest.MonkeyPatch, nlpipe: Command) -> None:
    monkeypatch.chdir(workplace)
    lines = [line for block in blocks("labels.md", "sh") for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        ended = nlpipe(*shlex.split(line)[1:])
        assert ended.code == 0, ended.err
    assert (workplace / "answers.conll").read_text().splitlines()[0].startswith("Ada\tB-person\t")
    assert set(json.loads((workplace / "answers.json").read_text())) == {"a", "b", "c"}


def test_the_page_of_vectors_runs() -> None:
    names: dict[str, Any] = {}
    for block in blocks("similarity.md", "python"):
        exec(block, names)
    assert names["vectors"].shape == (2, 384)
    pipe, texts = names["pipe"], names["texts"]
    assert names["cluster"](pipe, texts, threshold=0.6) == [[0, 1]]
    ((one, other, cosine),) = names["mine_paraphrases"](pipe, texts, threshold=0.6)
    assert (one, other) == (0, 1)
    assert cosine == pytest.approx(0.84, abs=0.01)
