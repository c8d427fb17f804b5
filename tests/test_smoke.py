"""`--smoke`: every stage of every shipped recipe in seconds, on a random model and a few rows."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nlpipe import smoke, upstream
from nlpipe.errors import ArtifactError, DataError, RecipeError
from nlpipe.loading import load
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe, read, shipped
from nlpipe.smoke.backbones import architecture_of
from nlpipe.testing.shrunk import shrunk
from nlpipe.testing.tiny import ARCHITECTURES, family, tiny_model
from tests.children import FORKING, in_a_fork, nlpipe
from tests.support import recipe

# One of each family at every change, of different tasks; the others in the long run.
QUICK = {"ner/encoder.yaml", "classification/decoder.yaml", "translation/encoder-decoder.yaml"}

PLUGINS = Plugins.discover(strict=True)


def each() -> list[Any]:
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow], id=name) for name in shipped()]


@pytest.mark.parametrize("name", each())
def test_a_shipped_recipe_runs_through(name: str, tmp_path: Path) -> None:
    parsed = read(name, PLUGINS.tasks, [f"output.dir={tmp_path / 'run'}", "run.threads=1"])
    report = smoke.run(parsed, plugins=PLUGINS)
    assert report.finished
    assert report.directory == tmp_path / "run-smoke" / "run"
    assert not (tmp_path / "run").exists()
    events = [json.loads(line) for line in (report.directory / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    if parsed.train:
        assert kinds.count("StepDone") == smoke.STEPS
        assert "checkpoint" in {event.get("what") for event in events}
        assert parsed.data.validation is None or kinds.count("Evaluated") == 2
        assert load(report.model or Path()).card.task == parsed.task.name
    assert kinds[-1] == "RunFinished"
    assert report.scores is not None or parsed.split is None


def test_the_quick_ones_are_shipped_and_of_all_families() -> None:
    assert set(shipped()) >= QUICK
    backbones = [read(name, PLUGINS.tasks).model.backbone for name in QUICK]
    assert {family(architecture_of(name)) for name in backbones} == {"encoder", "decoder", "encoder-decoder"}


def test_own_rows_and_the_own_config_are_taken_where_they_are_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All rows decide the labels; a few are learnt from; the model has the real one's depth and tokenizer."""
    backbone = tiny_model("bert", tmp_path / "bert", width=64)
    data = tmp_path / "train.csv"
    rows = [f"the {word} one,{label}" for label in ("a", "b", "c", "d") for word in ("red", "old")] * 20
    data.write_text("\n".join(["words,label", *rows, "odd,rare", *rows]) + "\n")
    made = Recipe(
        task="classification",
        model={"backbone": str(backbone), "max_length": 64},
        data={"train": str(data), "validation": 0.1, "columns": {"text": "words"}},
        train={"learning_rate": 1e-3},
        output={"dir": str(tmp_path / "run")},
    )
    small = smoke.shrink(made, PLUGINS)
    assert small.recipe.task.labels == ("a", "b", "c", "d", "rare")
    assert len(small.recipe.data.train) == smoke.rows.TRAIN
    config = upstream.read_config(Path(small.recipe.model.backbone))
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (
        32,
        2,
        upstream.read_config(backbone).vocab_size,
    )
    with caplog.at_level(logging.WARNING, "nlpipe"):
        report = smoke.run(made, plugins=PLUGINS)
    assert report.model is not None
    assert "all rows were read and checked" in caplog.text
    assert "mean nothing" in caplog.text


def test_a_row_that_cannot_be_used_is_found(tmp_path: Path) -> None:
    made = recipe(tiny_model("bert", tmp_path / "bert"), tmp_path / "run")
    broken = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}, {"text": None, "label": "y"}]
    made = made.model_copy(update={"data": made.data.model_copy(update={"train": broken})})
    with pytest.raises(DataError, match="row 3"):
        smoke.run(made, plugins=PLUGINS)


def test_its_folder_is_replaced_and_nobody_elses(tmp_path: Path) -> None:
    made = recipe(tiny_model("bert", tmp_path / "bert"), tmp_path / "run")
    folder = smoke.shrink(made, PLUGINS).folder
    (folder / "left").touch()
    assert smoke.shrink(made, PLUGINS).folder == folder
    assert not (folder / "left").exists()
    (folder / smoke.MARK).unlink()
    with pytest.raises(RecipeError, match="in use by something else"):
        smoke.shrink(made, PLUGINS)
    assert folder.exists()


def test_a_model_whose_name_says_nothing(tmp_path: Path) -> None:
    made = recipe(Path("someone/mystery"), tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"someone/mystery is not here.*hf download someone/mystery"):
        smoke.run(made, plugins=PLUGINS)


@pytest.mark.parametrize(
    ("name", "architecture"),
    {
        "google-bert/bert-base-cased": "bert",
        "distilbert/distilroberta-base": "roberta",
        "distilbert/distilgpt2": "gpt2",
        "sshleifer/distilbart-cnn-12-6": "bart",
        "microsoft/deberta-v3-small": "deberta_v2",
        "google/bigbird-roberta-base": "bigbird",
        "answerdotai/ModernBERT-base": "modernbert",
        "intfloat/multilingual-e5-small": "roberta",
        "BAAI/bge-small-en-v1.5": "bert",
        "facebook/mbart-large-50": "mbart",
        "EleutherAI/gpt-neo-125m": "gpt_neo",
        "facebook/opt-125m": "opt",
        "Helsinki-NLP/opus-mt-en-de": "marian",
        "google/mt5-small": "t5",
        "Qwen/Qwen2.5-0.5B": "qwen2",
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "llama",
        "/home/me/models/my-roberta": "roberta",
    }.items(),
)
def test_names_tell_architectures(name: str, architecture: str) -> None:
    assert architecture in ARCHITECTURES
    assert architecture_of(name) == architecture


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_made_narrow(architecture: str, tmp_path: Path) -> None:
    whole = tiny_model(architecture, tmp_path / "whole", width=64)
    narrow = shrunk(whole, tmp_path / "narrow")
    config = upstream.read_config(narrow)
    assert config.hidden_size == 32
    _, missing = upstream.load_model(None, narrow, config, torch.float32)
    assert missing == upstream.load_model(None, whole, upstream.read_config(whole), torch.float32)[1]
    tokenizers = [upstream.read_tokenizer(folder, config.vocab_size) for folder in (narrow, whole)]
    assert len({len(tokenizer) for tokenizer in tokenizers}) == 1


@pytest.mark.skipif(not FORKING, reason="processes are forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_the_command(tmp_path: Path) -> None:
    """In a process of its own, with nlpipe imported anew and without pytest, which a user need not have."""

    def work() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0].startswith("nlpipe")]:
            del sys.modules[name]
        for name in [name for name in sys.modules if name.partition(".")[0] in {"pytest", "_pytest", "hypothesis"}]:
            sys.modules[name] = None  # type: ignore[assignment]  # as Python has it for what cannot be imported
        sys.meta_path[:] = [one for one in sys.meta_path if not type(one).__module__.startswith("_pytest")]
        nlpipe(["run", "classification/encoder.yaml", "--smoke", "--json", "--set", "output.dir=out"])

    done = in_a_fork(work, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the scores mean nothing" in done.stderr
    assert json.loads(done.stdout)["task"]
    assert [path.name for path in tmp_path.iterdir()] == ["out-smoke"]
