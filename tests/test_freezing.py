"""`train.freeze`: what is named keeps its bits; a name that matches nothing is answered with those there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlpipe import adapter_targets, backbone, freezing
from nlpipe.errors import RecipeError, UnsupportedError
from nlpipe.locating import Location
from nlpipe.objectives import SequenceLabel
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from tests.support import Trainings, labelled, recipe, tiny


def _base(tmp_path: Path, architecture: str) -> Any:
    objective = SequenceLabel(labels=("a", "b"))
    return backbone.load(Location("tiny", tiny(architecture, tmp_path)), objective)


def _parts(names: frozenset[str]) -> set[str]:
    return {".".join(part for part in name.split(".")[:-1]) for name in names}


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "bart", "distilbert", "opt"])
def test_embeddings_and_layers_are_found_by_the_shape_of_a_model(architecture: str, tmp_path: Path) -> None:
    base = _base(tmp_path, architecture)
    embeddings = freezing.freeze(base.model, "embeddings", base.fresh)
    table = next(n for n, p in base.model.named_parameters() if p is base.model.get_input_embeddings().weight)
    assert table in embeddings
    first = freezing.freeze(base.model, "layers[:1]", base.fresh)
    assert first
    assert all(".0." in name for name in first)
    last = freezing.freeze(base.model, ["layers[-1]"], base.fresh)
    assert len(last) >= len(first) - 2  # T5's first block has the table of relative positions
    assert not embeddings & first
    assert not first & last
    left = [name for name, p in base.model.named_parameters() if p.requires_grad]
    assert not {*left} & (embeddings | first | last)
    assert any(name.startswith(base.fresh) for name in left)


def test_one_half_of_a_pair(tmp_path: Path) -> None:
    base = _base(tmp_path, "bart")
    found = freezing.freeze(base.model, "decoder.layers[0:2]", base.fresh)
    assert found
    assert all(".decoder.layers." in name for name in found)


def test_a_regular_expression_names_weights_and_modules(tmp_path: Path) -> None:
    base = _base(tmp_path, "bert")
    assert freezing.freeze(base.model, r".*\.query\.bias", base.fresh) == {
        f"bert.encoder.layer.{number}.attention.self.query.bias" for number in (0, 1)
    }
    assert _parts(freezing.freeze(base.model, r"bert\.encoder\.layer\.1\.output", base.fresh)) == {
        "bert.encoder.layer.1.output.dense",
        "bert.encoder.layer.1.output.LayerNorm",
    }


@pytest.mark.parametrize("wanted", ["layers[7]", "layers[2:]", "encode", "layers[]", "decoder.layers[:1]"])
def test_a_name_that_matches_nothing_lists_those_there_are(wanted: str, tmp_path: Path) -> None:
    base = _base(tmp_path, "bert")
    with pytest.raises(UnsupportedError, match=r"matches nothing.*bert.encoder.layer \(2 layers\).*#.attention"):
        freezing.freeze(base.model, ["embeddings", wanted], base.fresh)


def test_a_new_head_is_never_frozen(tmp_path: Path) -> None:
    base = _base(tmp_path, "bert")
    with pytest.raises(UnsupportedError, match="only what nothing has trained yet"):
        freezing.freeze(base.model, "classifier", base.fresh)
    assert not any(name.startswith("classifier") for name in freezing.freeze(base.model, ".*", base.fresh))


def _frozen(wanted: Any, **sections: Any) -> Any:
    def make(folder: Path, out: Path) -> Recipe:
        return recipe(
            folder,
            out,
            data={"train": labelled(rules.first_keyword(32, seed=1)), "test": labelled(rules.first_keyword(8, seed=2))},
            train={"steps": 2, "batch_size": 16, "learning_rate": 1e-2, "freeze": wanted},
            **sections,
        )

    return make


def test_frozen_weights_keep_their_bits_and_all_others_move(trainings: Trainings) -> None:
    trained = trainings.get("bert-frozen", "bert", _frozen(["embeddings", "layers[:1]"]))
    before, after = load_file(trained.backbone / "model.safetensors"), load_file(trained.model / "model.safetensors")
    shared = [name for name in before if name in after]
    same = {name for name in shared if before[name].equal(after[name])}
    assert same == {name for name in shared if "embeddings" in name or ".layer.0." in name}
    assert len(same) < len(shared)


def test_nothing_left_to_train_is_an_error(trainings: Trainings, tmp_path: Path) -> None:
    trained = trainings.get("bert-frozen", "bert", _frozen(["embeddings", "layers[:1]"]))
    with pytest.raises(RecipeError, match="leaves nothing to train"):
        run(_frozen(".*")(trained.model, tmp_path / "run"))  # its head is trained already


def test_a_frozen_layer_of_few_bits_gets_no_adapter(tmp_path: Path) -> None:
    """Its weights never have a gradient, so that only the recipe says that it is frozen."""
    base = backbone.load(Location("tiny", tiny("bert", tmp_path)), SequenceLabel(labels=("a", "b")))
    for name, module in base.model.named_modules():
        if name.endswith("attention.self.query"):
            module.weight = torch.nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    frozen = freezing.freeze(base.model, "layers[:1]", base.fresh)
    found = adapter_targets.find(base.model, "all-linear", exclude=["classifier"], frozen=frozen)
    assert [name for name in found if "query" in name] == ["bert.encoder.layer.1.attention.self.query"]
    assert not [name for name in found if "layer.0." in name]
