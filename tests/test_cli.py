"""The command line as its user meets it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from nlpipe import cli
from nlpipe.testing import rules
from tests.support import Trainings, labelled, tiny


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def nlpipe(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Run the command line in this process: `nlpipe("run", "recipe.yaml")`."""

    def call(*args: str | Path, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "argv", ["nlpipe", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfdbinary.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = capfdbinary.readouterr()
        return Ended(code, out.decode(), err.decode())

    return call


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def write(tmp_path: Path, backbone: Path) -> Callable[..., Path]:
    """A small right recipe with its data beside it; `changes` replace keys of sections."""

    def make(rows: object = None, **changes: object) -> Path:
        content = {
            "task": "classification",
            "model": {"backbone": str(backbone)},
            "data": {"train": "train.jsonl", "test": "test.jsonl"},
            "train": {"steps": 2, "batch_size": 4, "learning_rate": 1e-3},
            "evaluate": {"bootstrap": 20},
            "run": {"threads": 1},
            "output": {"dir": str(tmp_path / "out")},
        }
        for name in ("train", "test"):
            lines = rules.first_keyword(20, seed=1 if name == "train" else 2) if rows is None else rows
            text = "".join(json.dumps(row) + "\n" for row in labelled(lines)) if isinstance(lines, list) else str(lines)
            (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**content, **changes}), encoding="utf-8")
        return tmp_path / "recipe.yaml"

    return make


def refused(ended: Ended, *fragments: str) -> None:
    """One clear message, exit code 2, no traceback."""
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("error:") == 1
    for fragment in fragments:
        assert fragment in ended.err, ended.err


def test_run_prints_scores_and_writes_the_folder(nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    ended = nlpipe("run", write())
    assert ended.code == 0, ended.err
    assert "accuracy" in ended.out
    assert "majority" in ended.out
    assert "2 steps" in ended.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "checkpoints",
        "environment.json",
        "events.jsonl",
        "metrics.json",
        "model",
        "predictions.jsonl",
        "statistics.npz",
        "report.html",
        "recipe.yaml",
    }
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "RunStarted",
        "StepDone",
        "StepDone",
        "Saved",
        "Saved",
        "RunFinished",
    ]
    predictions = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert len(predictions) == 20
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "accuracy" in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "nlpipe"


def test_run_as_json(nlpipe: Command, write: Callable[..., Path]) -> None:
    ended = nlpipe("run", write(), "--json", "--quiet")
    found = json.loads(ended.out)
    assert found["n"] == 20
    for part in ("scores", "intervals", "signatures"):
        assert set(found[part]) == {"accuracy", "macro_f1", "mcc"}
    low, high = found["intervals"]["accuracy"]
    assert 0 <= low <= found["scores"]["accuracy"] <= high <= 1
    assert ended.err == ""


def test_set_changes_a_setting(nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    ended = nlpipe("run", write(), "--set", "train.steps=3", "--set", f"output.dir={tmp_path / 'other'}")
    assert ended.code == 0
    assert "3 steps" in ended.err
    assert (tmp_path / "other" / "model").is_dir()


def test_the_output_folder_in_use(nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    recipe = write()
    assert nlpipe("run", recipe).code == 0
    refused(nlpipe("run", recipe), str(tmp_path / "out"), "in use", "--resume", "output.dir")
    refused(nlpipe("run", recipe, "--resume"), "finished already", "model")


BAD_RECIPES = {
    "unknown key": ({"trian": {}}, ["trian", "did you mean 'train'"]),
    "unknown key below": ({"train": {"epoch": 1}}, ["train.epoch", "did you mean 'epochs'"]),
    "wrong type": ({"train": {"epochs": "three"}}, ["train.epochs", "three"]),
    "unknown task": ({"task": "clasification"}, ["clasification", "did you mean 'classification'", "sentiment"]),
    "missing file": ({"data": {"train": "trian.jsonl"}}, ["trian.jsonl", "train.jsonl"]),
    "missing column": (
        {"data": {"train": "train.jsonl", "columns": {"text": "txt"}}},
        ["txt", "text", "label", "columns"],
    ),
    "unknown folder": ({"model": {"backbone": "./nowhere/at/all"}}, ["nowhere/at/all", "model folder"]),
    "hub without network": ({"model": {"backbone": "someone/some-model"}}, ["someone/some-model", "local", "online"]),
    "max_length beyond the model": (None, ["max_length", "100000", "64"]),
    "an option that does nothing": (
        {"train": {"steps": 1, "class_weights": {"nowhere": 2.0}}},
        ["class_weights", "nowhere", "north"],
    ),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_bad_recipes(name: str, nlpipe: Command, write: Callable[..., Path], backbone: Path, tmp_path: Path) -> None:
    changes, fragments = BAD_RECIPES[name]
    changes = changes or {"model": {"backbone": str(backbone), "max_length": 100000}}
    refused(nlpipe("run", write(**changes)), *fragments)
    assert not (tmp_path / "out").exists(), "nothing is written before all is known to fit"


BAD_ROWS = {
    "empty file": ("", ["train.jsonl", "empty"]),
    "one class only": ([("a b", "x"), ("c d", "x")], ["train.jsonl", "only 'x'"]),
    "a number for a text": ('{"text": "a", "label": "x"}\n{"text": 3.5, "label": "y"}\n', ["row 2", "text", "3.5"]),
    "broken json": ('{"text": "a", "label": "x"}\n{"text": \n', ["train.jsonl", "line 2"]),
    "no label": ('{"text": "a", "label": "x"}\n{"text": "b"}\n{"text": "c", "label": "y"}\n', ["row 2", "label"]),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows(name: str, nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    rows, fragments = BAD_ROWS[name]
    refused(nlpipe("run", write(rows)), *fragments)
    assert not (tmp_path / "out").exists()


def test_a_label_that_training_never_saw(nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    recipe = write()
    with (tmp_path / "test.jsonl").open("a") as stream:
        stream.write('{"text": "a", "label": "nort"}\n')
    refused(nlpipe("run", recipe), "test.jsonl", "row 21", "'nort'", "did you mean 'north'")


def test_broken_yaml_and_tags(nlpipe: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: classification\nmodel: {backbone: [}\n")
    refused(nlpipe("run", recipe), "recipe.yaml", "line 2")
    recipe.write_text("task: classification\nmodel: !!python/object/apply:os.system ['true']\n")
    refused(nlpipe("run", recipe), "line 2", "python/object")


def test_an_unreadable_encoding_and_ragged_rows(nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("text,label\nschön,x\n".encode("latin-1"))
    refused(nlpipe("run", write(data={"train": "rows.csv"})), "rows.csv", "UTF-8", "line 2")
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y,z\n")
    refused(nlpipe("run", write(data={"train": "rows.csv"})), "rows.csv", "line 3")


def test_a_loss_that_is_no_number(nlpipe: Command, write: Callable[..., Path]) -> None:
    train = {"steps": 40, "batch_size": 4, "learning_rate": 1e30, "clip": None, "warmup": 0}
    refused(nlpipe("run", write(train=train)), "loss", "step", "learning_rate", "1e+30")


def test_predict_keeps_the_input_and_adds_the_answer(nlpipe: Command, trainings: Trainings, tmp_path: Path) -> None:
    model = trainings.get("bert", "bert").model
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('id,text,label\n7,"ba north be south",mine\n8,south ba north,yours\n')
    ended = nlpipe("predict", model, "--input", source, "--output", target)
    assert ended.code == 0, ended.err
    assert "2 rows answered" in ended.err
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(row["id"], row["label"], row["predicted_label"]) for row in rows] == [
        ("7", "mine", "north"),
        ("8", "yours", "south"),
    ]


def test_predict_from_and_to_streams(nlpipe: Command, trainings: Trainings) -> None:
    model = trainings.get("bert", "bert").model
    ended = nlpipe("predict", model, "--input", "-", stdin="ba north be south\nsouth ba north\n")
    assert [json.loads(line)["label"] for line in ended.out.splitlines()] == ["north", "south"]


def test_predict_names_the_row_that_it_cannot_answer(nlpipe: Command, trainings: Trainings, tmp_path: Path) -> None:
    model = trainings.get("bert", "bert").model
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n{"text": 5}\n')
    ended = nlpipe("predict", model, "--input", source, "--output", tmp_path / "out.jsonl")
    assert ended.code == 0
    assert "1 row could not be answered" in ended.err
    bad = json.loads((tmp_path / "out.errors.jsonl").read_text())
    assert (bad["row"], bad["input"]) == (2, {"text": 5})
    assert bad["reason"].startswith("text must be text, is 5 (a number)")
    ended = nlpipe("predict", model, "--input", source, "--output", tmp_path / "new.jsonl", "--errors", "raise")
    refused(ended, "row 2", "text", "5", "--resume goes on")
    assert not (tmp_path / "new.jsonl").exists()
    source.write_text('{"review": "a"}\n')
    refused(nlpipe("predict", model, "--input", source), "review", "--columns text=")
    renamed = nlpipe("predict", model, "--input", source, "--columns", "text=review")
    assert json.loads(renamed.out)["review"] == "a"
    refused(nlpipe("predict", model, "--input", source, "--columns", "texts=review"), "did you mean 'text'")


def test_evaluate_gives_the_scores_of_the_run(nlpipe: Command, trainings: Trainings, tmp_path: Path) -> None:
    trained = trainings.get("bert", "bert")
    rows = labelled(rules.first_keyword(200, seed=2))
    file = tmp_path / "rows.jsonl.gz"
    with gzip.open(file, "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    found = json.loads(nlpipe("evaluate", trained.model, "--data", file, "--json").out)
    assert trained.report.scores is not None
    assert found["scores"] == pytest.approx(dict(trained.report.scores.scores))
    assert "accuracy" in nlpipe("evaluate", trained.model, "--data", file).out


def test_folders_that_are_no_models(nlpipe: Command, trainings: Trainings, tmp_path: Path, backbone: Path) -> None:
    trained = trainings.get("bert", "bert")
    refused(nlpipe("predict", tmp_path / "no", "--input", "-"), "no model folder")
    refused(nlpipe("predict", trained.report.directory, "--input", "-"), "the model is in")
    refused(nlpipe("predict", backbone, "--task", "classification", "--input", "-"), "no head", "recipe new")


def test_tasks_and_the_grid(nlpipe: Command) -> None:
    out = nlpipe("tasks").out
    assert "classification" in out
    assert "sentiment" in out
    cells = json.loads(nlpipe("tasks", "--grid", "--json").out)
    row = next(row for row in cells if row["task"] == "classification")
    assert all("SequenceLabel" in row[family] for family in ("encoder", "decoder", "encoder-decoder"))


def test_recipe_commands(nlpipe: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    recipe = write()
    assert "is right" in nlpipe("recipe", "check", recipe).err
    shown = yaml.safe_load(nlpipe("recipe", "show", recipe, "--set", "train.seed=5").out)
    assert shown["train"]["seed"] == 5
    assert shown["adapter"] is None
    schema = json.loads(nlpipe("recipe", "schema").out)
    assert "adapter" in schema["properties"]
    new = tmp_path / "new.yaml"
    new.write_text(nlpipe("recipe", "new", "sentiment").out)
    assert nlpipe("recipe", "check", new).code == 0
    refused(nlpipe("recipe", "new", "sentimant"), "did you mean 'sentiment'")


def test_plugins_and_doctor(nlpipe: Command) -> None:
    assert "classification" in nlpipe("plugin", "list").out
    assert "nlpipe_classification" in nlpipe("plugin", "info", "classification").out
    refused(nlpipe("plugin", "info", "clasification"), "did you mean 'classification'")
    assert nlpipe("--no-plugin", "classification", "tasks", "--json").out.find('"sentiment"') == -1
    found = json.loads(nlpipe("doctor", "--json").out)
    assert found["GPUs"]
    assert found["torch"]


def test_a_bug_keeps_its_traceback(nlpipe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("nlpipe.doctor.examine", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        nlpipe("doctor")


def test_without_train_a_recipe_measures_an_untouched_model(
    nlpipe: Command, write: Callable[..., Path], trainings: Trainings, tmp_path: Path, backbone: Path
) -> None:
    trained = trainings.get("bert", "bert")
    data = {"test": "test.jsonl"}
    (tmp_path / "test.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in labelled(rules.first_keyword(200, seed=2)))
    )
    recipe = tmp_path / "evaluate.yaml"
    content = {"task": "classification", "model": {"backbone": str(trained.model)}, "data": data}
    recipe.write_text(yaml.safe_dump(content | {"output": {"dir": str(tmp_path / "measured")}}))
    ended = nlpipe("run", recipe, "--json", "--quiet")
    assert ended.code == 0, ended.err
    assert trained.report.scores is not None
    assert json.loads(ended.out)["scores"] == pytest.approx(dict(trained.report.scores.scores))
    assert not (tmp_path / "measured" / "model").exists()
    content["model"] = {"backbone": str(backbone)}
    recipe.write_text(yaml.safe_dump(content | {"output": {"dir": str(tmp_path / "other")}}))
    refused(nlpipe("run", recipe), "no head for classification")
    assert not (tmp_path / "other").exists()


def test_data_check_prints_what_it_found_and_is_strict_where_asked(nlpipe: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"text": text, "label": label} for text, label in [("good one", "a"), ("bad one", "b"), ("Good one!", "b")]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = nlpipe("data", "check", file, "--task", "classification")
    assert ended.code == 0
    assert "conflicts" in ended.out
    assert "row 1 and row 3" in ended.out
    ended = nlpipe("data", "check", file, "--task", "classification", "--strict", "--json")
    assert ended.code == 2
    assert json.loads(ended.out)[0]["rows"] == [3]
    assert "another gold" in ended.err
