"""LoRA: the head is trained and saved under whatever name, and what was saved answers as what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import adapter, adapter_targets, backbone, loading
from nlpipe.errors import ArtifactError, UnsupportedError
from nlpipe.locating import Location
from nlpipe.objectives import SequenceLabel
from nlpipe.pipelines import Pipeline
from nlpipe.recipe import AdapterSection, Recipe
from nlpipe.runners.torch import TorchRunner
from nlpipe.testing import rules
from nlpipe.testing.tiny import tiny_model
from tests.support import Trainings, labelled, recipe, tiny

# PEFT's own guesses lose the head of T5 and BART, the pooler of DeBERTa and of a BERT without one, and it has no
# targets for DistilBERT, ModernBERT, ALBERT, MPNet and Marian.
ARCHITECTURES = ("bert", "t5", "bart", "deberta_v2", "distilbert", "modernbert", "albert", "mpnet", "marian", "gpt2")
QUICK = {"bert", "t5", "marian"}
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]

TEXTS = [text for text, _ in rules.first_keyword(24, seed=9, longest=40)]


def lora(weights: str, **settings: Any) -> Any:
    def make(folder: Path, out: Path) -> Recipe:
        return recipe(
            folder,
            out,
            adapter={"r": 4, "alpha": 8, **settings},
            data={"train": labelled(rules.first_keyword(64, seed=1)), "test": labelled(rules.first_keyword(8, seed=2))},
            train={"steps": 4, "batch_size": 16, "learning_rate": 1e-2},
            output={"dir": str(out), "weights": weights},
        )

    return make


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("targets", ["auto", "all-linear"])
def test_what_was_saved_answers_as_what_was_trained(architecture: str, targets: str, trainings: Trainings) -> None:
    """The run itself compares them and fails otherwise; here both forms of one training are compared."""
    made = [
        trainings.get(f"{architecture}-{targets}-{weights}", architecture, lora(weights, targets=targets)).load()
        for weights in ("merged", "adapter")
    ]
    merged, adapted = ([list(r.scores.values()) for r in pipe(TEXTS)] for pipe in made)
    np.testing.assert_allclose(merged, adapted, atol=1e-4)
    untrained = backbone.load(
        Location("tiny", trainings.folder / architecture), made[0].objective, labels=made[0].card.labels
    )
    assert not np.allclose(
        merged,
        [
            list(r.scores.values())
            for r in Pipeline(made[0].card, TorchRunner(untrained.model), untrained.tokenizers)(TEXTS)
        ],
        atol=1e-3,
    ), "the adapter changed nothing, so the comparison above says nothing"


def test_an_adapter_folder_loads_with_peft_alone(trainings: Trainings) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    trained = trainings.get("bert-auto-adapter", "bert", lora("adapter", targets="auto"))
    pipe = trained.load()
    base = AutoModelForSequenceClassification.from_pretrained(trained.backbone, num_labels=2, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, trained.model / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(trained.model)
    for text, ours in zip(TEXTS, pipe(TEXTS), strict=True):
        with torch.inference_mode():
            theirs = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist()
        assert list(ours.scores.values()) == pytest.approx(theirs, abs=2e-5)
    assert not list(trained.model.glob("*.safetensors")), "an adapter's folder holds no base weights"


def test_an_adapter_refuses_another_base(trainings: Trainings, tmp_path: Path) -> None:
    trained = trainings.get("bert-auto-adapter", "bert", lora("adapter", targets="auto"))
    weights = trained.backbone / "model.safetensors"
    kept = weights.read_bytes()
    try:
        tiny_model("bert", tmp_path / "other", seed=1, words=[*rules.FILLERS, *rules.KEYWORDS])
        weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
        with pytest.raises(ArtifactError, match=r"was trained on .* would give other answers"):
            trained.load()
    finally:
        weights.write_bytes(kept)
    trained.load()


def test_a_torn_adapter_is_refused(trainings: Trainings, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    trained = trainings.get("bert-auto-adapter", "bert", lora("adapter", targets="auto"))
    copy = tmp_path / "model"
    shutil.copytree(trained.model, copy)
    file = copy / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    dropped = next(name for name in tensors if "classifier" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != dropped}, file)
    with pytest.raises(ArtifactError, match="lacks the weights"):
        loading.load(copy)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="is damaged or cut off"):
        loading.load(copy)


def _model(tmp_path: Path, architecture: str = "bert") -> Any:
    objective = SequenceLabel(labels=("a", "b"))
    return backbone.load(Location("tiny", tiny(architecture, tmp_path)), objective).model


def test_targets(tmp_path: Path) -> None:
    model = _model(tmp_path)
    auto = adapter_targets.find(model, "auto")
    assert len(auto) == 4
    assert adapter_targets.find(model, "auto", "linear", ["classifier"]) == adapter_targets.find(
        model, "all-linear", exclude=["classifier"]
    )
    assert all(name.endswith(("query", "value")) for name in auto)
    every = adapter_targets.find(model, "all-linear", exclude=["classifier"])
    assert "classifier" not in every
    assert set(auto) < set(every)
    assert adapter_targets.find(model, ["key"]) == [name for name in every if name.endswith(".key")]
    assert len(adapter_targets.find(model, r".*layer\.0\..*query")) == 1
    with pytest.raises(UnsupportedError, match="no layer of this model is called 'quary'; did you mean 'query'"):
        adapter_targets.find(model, ["query", "quary"])
    with pytest.raises(UnsupportedError, match="there are:"):
        adapter_targets.find(model, "nothing.*")


def test_only_the_adapter_and_the_head_are_trained(tmp_path: Path) -> None:
    objective = SequenceLabel(labels=("a", "b"))
    base = backbone.load(Location("tiny", tiny("t5", tmp_path)), objective)
    made = adapter.attach(base.model, AdapterSection(r=4), objective, base.fresh, steps=1, folder=base.location.folder)
    model = made.model
    names = set(adapter.trained(model))
    assert all("lora_" in name or "classification_head" in name for name in names)
    assert any("classification_head.modules_to_save" in name for name in names)
    trained, whole = adapter.counts(model)
    assert 0 < trained < whole
