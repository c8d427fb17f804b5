"""The table of methods is PEFT's, their targets are found by shape, and what a recipe asks for happens."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import adapter, adapter_methods, adapter_targets, adapting, backbone, loading, parity
from nlpipe.adapter_methods import METHODS
from nlpipe.adapter_training import RankCompanion
from nlpipe.errors import ArtifactError, RecipeError, UnsupportedError
from nlpipe.events import StepDone
from nlpipe.locating import Location
from nlpipe.objectives import SequenceLabel
from nlpipe.recipe import AdapterSection, Recipe
from nlpipe.running import run
from tests import peft_fields
from tests.adapter_cells import FIRST, Cell
from tests.support import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


def base_of(architecture: str, folder: Path, objective: Any = None) -> backbone.Backbone:
    found = objective or SequenceLabel(labels=("a", "b"))
    return backbone.load(Location("tiny", tiny(architecture, folder)), found)


def attached(base: backbone.Backbone, section: AdapterSection, objective: Any = None, steps: int = 10) -> Any:
    found = objective or SequenceLabel(labels=("a", "b"))
    return adapter.attach(base.model, section, found, base.fresh, steps=steps, folder=base.location.folder)


# The table


def test_the_recorded_fields_are_those_of_peft() -> None:
    """`python -m tests.peft_fields` writes them anew."""
    assert adapter_methods.FIELDS.read_text(encoding="utf-8") == peft_fields.written()


def test_every_method_of_peft_is_in_or_out() -> None:
    import peft

    theirs = {kind.value.lower() for kind in peft.PeftType}
    ours = {*METHODS, *adapter_methods.OUT}
    assert not {*METHODS} & {*adapter_methods.OUT}
    assert theirs <= ours
    assert {*METHODS} <= theirs


@pytest.mark.parametrize("name", METHODS)
def test_what_a_recipe_may_set_is_among_the_methods_fields(name: str) -> None:
    method, fields = METHODS[name], adapter_methods.fields()[name]
    assert {*method.core.values(), *method.settings} <= {*fields}
    assert "modules_to_save" in fields, "a head would be lost"
    adapter_methods.model_of(name)  # knows every kind
    assert {*adapter_methods.open_fields(name)} - {adapter_methods.LORA_PLUS} <= {*fields}


# Targets

# Small sizes under all the names that configs give them.
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "word_embed_proj_dim", "embedding_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "encoder_layers", "decoder_layers", "n_layer", "n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "rotary_dim"), 4),
    **dict.fromkeys(("intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim", "ffn_dim"), 64),
    **{"num_key_value_heads": 2, "d_kv": 8, "head_dim": 8, "vocab_size": 99, "pad_token_id": 0},
    "attention_types": [[["global", "local"], 1]],
}
# Phi's entry has its feed-forward too; RWKV and Nemotron-H have layers that are no attention.
UNLIKE = {"phi", "rwkv", "nemotron_h", "blip-2"}
WITHOUT = {
    "distilbert": {"q_lin", "v_lin"},
    "modernbert": {"Wqkv"},
    "albert": {"query", "value"},
    "mpnet": {"q", "v"},
    **{name: {"q_proj", "v_proj"} for name in ("marian", "mbart", "pegasus", "m2m_100")},
    "umt5": {"q", "v"},
    "phi3": {"qkv_proj"},
    "smollm3": {"q_proj", "v_proj"},
    "deepseek_v3": {"q_a_proj", "q_b_proj", "kv_b_proj"},
}


def on_paper(kind: str) -> Any:
    """A model of the architecture without weights; None where transformers has none."""
    import transformers

    if kind not in transformers.CONFIG_MAPPING:
        return None
    blank = transformers.CONFIG_MAPPING[kind]()
    sizes = {name: size for name, size in SIZES.items() if hasattr(blank, name)}
    if kind == "falcon":  # its width decides it
        sizes.pop("head_dim")
    config = transformers.CONFIG_MAPPING[kind](**sizes)
    for auto in ("Seq2SeqLM", "CausalLM", "MaskedLM"):
        made = getattr(transformers, f"AutoModelFor{auto}")
        if type(config) in made._model_mapping:
            with torch.device("meta"):
                return made.from_config(config)
    return None


@pytest.mark.slow
def test_queries_and_values_are_those_of_pefts_table() -> None:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as table

    compared = 0
    for kind, ends in table.items():
        model = None if kind in UNLIKE or isinstance(ends, str) else on_paper(kind)
        if model is None:
            continue
        layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) or "c_" in name]
        expected = {name for name in layers if any(name.endswith(f".{end}") for end in ends)}
        assert {*adapter_targets.find(model, "auto")} == expected, kind
        compared += 1
    assert compared >= 25


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITHOUT)
def test_architectures_that_peft_has_no_targets_for(kind: str) -> None:
    model = on_paper(kind)
    found = adapter_targets.find(model, "auto")
    assert {name.rpartition(".")[2] for name in found} == WITHOUT[kind]
    keys = adapter_targets.find(model, "auto", "keys")
    assert len(adapter_targets.feedforward(model, keys)) >= 1


def test_feedforward_ends_where_attention_does_not(folder: Path) -> None:
    ends = {}
    for architecture in ("bert", "gpt2", "t5", "bart", "llama", "albert"):
        model = base_of(architecture, folder).model
        keys = adapter_targets.find(model, "auto", "keys")
        ends[architecture] = {name.rpartition(".")[2] for name in adapter_targets.feedforward(model, keys)}
        assert len(keys) > len(adapter_targets.feedforward(model, keys))
    assert ends == {
        "bert": {"dense"},
        "gpt2": {"c_proj"},
        "t5": {"wo"},
        "bart": {"fc2"},
        "llama": {"down_proj"},
        "albert": {"ffn_output"},
    }


def test_a_target_in_some_layers_alone_is_an_error(folder: Path) -> None:
    model: Any = base_of("bert", folder).model
    model.bert.encoder.layer[1].attention.self.extra = torch.nn.Linear(32, 32)
    with pytest.raises(
        UnsupportedError, match=r"'extra' matches in only 1 of the 2 layers of bert.encoder.layer \(1\)"
    ):
        adapter_targets.find(model, ["query", "extra"])
    assert len(adapter_targets.find(model, r".*\.extra")) == 1
    assert adapter_targets.find(model, ["layer.1.attention.self.query"]) == [
        "bert.encoder.layer.1.attention.self.query"
    ]


def test_frozen_layers_get_no_adapter(folder: Path) -> None:
    base = base_of("bert", folder)
    base.model.get_submodule("bert.encoder.layer.0").requires_grad_(False)
    model = attached(base, AdapterSection()).model
    assert {name.split(".")[5] for name in adapter.trained(model) if "lora_" in name} == {"1"}


def test_layers_and_exclusions_choose_among_the_targets(folder: Path) -> None:
    section = AdapterSection(targets="all-linear", layers_to_transform=[1], exclude_modules=["dense"])
    model = attached(base_of("bert", folder), section).model
    adapted = {name.partition(".lora_")[0] for name in adapter.trained(model) if "lora_A" in name}
    assert adapted == {f"base_model.model.bert.encoder.layer.1.attention.self.{n}" for n in ("query", "key", "value")}
    with pytest.raises(UnsupportedError, match="leave no layer to adapt"):
        attached(base_of("bert", folder), AdapterSection(layers_to_transform=7))


def test_further_modules_are_trained_in_full(folder: Path) -> None:
    model = attached(base_of("bert", folder), AdapterSection(modules_to_save=["word_embeddings"])).model
    assert any("word_embeddings.modules_to_save" in name for name in adapter.trained(model))
    with pytest.raises(UnsupportedError, match="no module is called 'embedings'"):
        attached(base_of("bert", folder), AdapterSection(modules_to_save=["embedings"]))


# Settings


def test_settings_that_peft_refuses_are_the_users_mistake(folder: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"c3a does not fit this model as it is set: .*block"):
        attached(base_of("bert", folder), AdapterSection(method="c3a", block_size=7))


@pytest.mark.parametrize(
    "fields",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal"},
        {"bias": "lora_only"},
        {"rank_pattern": {"query": 2}},
        {"trainable_token_indices": [5, 6]},
        {"loraplus_lr_ratio": 16},
    ],
    ids=lambda fields: "-".join(map(str, next(iter(fields.items())))),
)
def test_loras_kin(fields: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """The run compares what was saved with what was trained, and the merged with the adapted."""
    cell = Cell("lora", "SequenceLabel", "bert")
    for weights in ("adapter", "merged"):
        adapted = {"r": 4, "alpha": 8, **fields}
        output = {"dir": str(tmp_path / weights), "weights": weights}
        assert run(cell.recipe(tiny("bert", folder), tmp_path, adapter=adapted, output=output)).model is not None


def test_lora_plus_lets_b_learn_faster(folder: Path) -> None:
    made = attached(base_of("bert", folder), AdapterSection(loraplus_lr_ratio=16))
    rates = made.companion.rates
    assert {*rates.values()} == {16.0}
    assert {*rates} == {name for name in adapter.trained(made.model) if "lora_B" in name}


def test_adalora_shares_its_ranks_out(folder: Path) -> None:
    made = attached(base_of("bert", folder), AdapterSection(method="adalora", r=2), steps=20)
    config = made.companion.config
    assert (config.init_r, config.target_r, config.tinit, config.tfinal, config.total_step) == (3, 2, 2, 10, 20)
    assert float(made.companion.penalty()) > 0
    with pytest.raises(RecipeError, match="no step to share its ranks out in: 1 steps"):
        attached(base_of("bert", folder), AdapterSection(method="adalora"), steps=1)
    with pytest.raises(RecipeError, match=r"begins with more ranks than it keeps \(8\)"):
        attached(base_of("bert", folder), AdapterSection(method="adalora", r=8, init_r=8))


def test_adaloras_state_goes_through_a_checkpoint(folder: Path) -> None:
    """Importances and the ranks decided are put back as they were; PEFT itself keeps them nowhere."""

    def step(made: Any, number: int) -> None:
        torch.manual_seed(number)
        for name, weight in adapter.trained(made.model).items():
            weight.grad = torch.randn_like(weight) if "lora_" in name else torch.zeros_like(weight)
        made.companion.stepped(number)

    section = AdapterSection(method="adalora", r=2)
    one = attached(base_of("bert", folder), section, steps=6)
    for number in (1, 2, 3):
        step(one, number)
    other = attached(base_of("bert", folder), section, steps=6)
    assert isinstance(other.companion, RankCompanion)
    other.companion.restore({name: value.clone() for name, value in one.companion.state().items()})
    with torch.no_grad():
        for name, weight in adapter.trained(other.model).items():
            weight.copy_(adapter.trained(one.model)[name])
    for number in (4, 5, 6):
        step(one, number)
        step(other, number)
    ours, theirs = (adapter.trained(made.model) for made in (one, other))
    assert all(ours[name].equal(theirs[name]) for name in ours)
    ranks = [int((weight != 0).sum()) for name, weight in ours.items() if "lora_E" in name]
    assert sum(ranks) <= 2 * len(ranks)


def test_a_beginning_drawn_anew_at_each_loading_is_only_merged(folder: Path, tmp_path: Path) -> None:
    """PiSSA's quick way draws at random; what is loaded would rest on other draws."""
    cell, adapted = Cell("lora", "SequenceLabel", "bert"), {"init_lora_weights": "pissa_niter_2"}
    with pytest.raises(UnsupportedError, match=r"output.weights: adapter is not for lora as it is set"):
        run(cell.recipe(tiny("bert", folder), tmp_path / "a", adapter=adapted))
    output = {"dir": str(tmp_path / "b"), "weights": "merged"}
    assert run(cell.recipe(tiny("bert", folder), tmp_path, adapter=adapted, output=output)).model is not None


@pytest.mark.parametrize(
    "method",
    ["adalora", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vera", "pvera", "shira", "prompt_tuning"))],
)
def test_a_resumed_run_ends_as_an_unbroken_one(method: str, folder: Path, tmp_path: Path) -> None:
    """Random projections, masks and ranks come back with the weights."""

    def breaks(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            raise RuntimeError("pulled the plug")

    cell, weights = Cell(method, "SequenceLabel", "bert"), []
    train = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_every": 2, "seed": 3}
    for name in ("unbroken", "broken"):
        made = cell.recipe(tiny("bert", folder), tmp_path / name, train=train)
        if name == "broken":
            with pytest.raises(RuntimeError, match="pulled"):
                run(made, listeners=[breaks])
        report = run(made, resume=name == "broken")
        assert report.model is not None
        weights.append((report.model / "adapter" / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]


# What is released


def test_what_cannot_be_merged_is_saved_as_an_adapter_and_said_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cell = Cell("prompt_tuning", "SequenceLabel", "bert")
    output = {"dir": str(tmp_path / "run")}
    with caplog.at_level(logging.WARNING, "nlpipe"):
        report = run(cell.recipe(tiny("bert", folder), tmp_path, output=output))
    said = [record.message for record in caplog.records if "output.weights" in record.message]
    assert len(said) == 1
    assert "the prompt_tuning adapter cannot be folded into the model's weights" in said[0]
    assert report.model is not None
    assert (report.model / "adapter" / "adapter_config.json").is_file()
    assert loading.load(report.model).card.weights == "adapter"


def test_what_another_machine_may_compute_otherwise_is_only_merged(folder: Path, tmp_path: Path) -> None:
    cell = Cell("tinylora", "SequenceLabel", "bert")
    with pytest.raises(UnsupportedError, match="is not for tinylora as it is set: it computes singular vectors"):
        run(cell.recipe(tiny("bert", folder), tmp_path, output={"dir": str(tmp_path / "x"), "weights": "adapter"}))


def test_freezing_what_an_adapter_leaves_alone_is_an_error(folder: Path, tmp_path: Path) -> None:
    cell = Cell("lora", "SequenceLabel", "bert")
    train = {"steps": 1, "freeze": "embeddings"}
    with pytest.raises(RecipeError, match=r"train.freeze does nothing here: an adapter leaves"):
        run(cell.recipe(tiny("bert", folder), tmp_path / "one", train=train))
    report = run(cell.recipe(tiny("bert", folder), tmp_path / "two", train={**train, "freeze": "layers[:1]"}))
    assert report.model is not None
    saved = (report.model / "adapter" / "adapter_model.safetensors").read_bytes()
    assert b"layer.1.attention" in saved
    assert b"layer.0.attention" not in saved


# The four heads that PEFT loses: T5's, BART's and DeBERTa's, and the pooler of a BERT without one


@pytest.mark.parametrize("architecture", ["t5", "bart", "deberta_v2", "bert"])
@pytest.mark.parametrize("weights", ["adapter", "merged"])
def test_saved_against_reloaded_the_difference_is_exactly_zero(
    architecture: str, weights: str, folder: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open

    with safe_open(tiny(architecture, folder) / "model.safetensors", "pt") as file:
        assert not any("pooler" in name or "classif" in name for name in file.keys())  # noqa: SIM118 -- no dict
    seen: list[parity.Outputs] = []
    original = parity.outputs

    def watched(*args: Any) -> parity.Outputs:
        seen.append(original(*args))
        return seen[-1]

    cell = Cell("lora", "SequenceLabel", architecture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "outputs", watched)
        run(
            cell.recipe(tiny(architecture, folder), tmp_path, output={"dir": str(tmp_path / "run"), "weights": weights})
        )
    saved, reloaded = seen[-2], seen[-1]
    worst = max(float(np.abs(a[name] - b[name]).max()) for a, b in zip(saved, reloaded, strict=True) for name in a)
    assert worst == 0.0


# The gate: planted defects


def test_a_run_fails_and_names_the_tensors_that_were_lost(folder: Path, tmp_path: Path) -> None:
    original = adapter.load

    def loses(model: Any, path: Path, **rest: Any) -> Any:
        found = original(model, path, **rest)
        with torch.no_grad():
            next(p for n, p in found.model.named_parameters() if "layer.1" in n and "value.lora_B" in n).mul_(2)
        return found

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ArtifactError) as error:
        patch.setattr(adapter, "load", loses)
        run(Cell("lora", "SequenceLabel", "bert").recipe(tiny("bert", folder), tmp_path / "run"))
    assert "saving and loading the model changed the model's outputs" in str(error.value)
    assert "Different: base_model.model.bert.encoder.layer.1.attention.self.value.lora_B.default.weight. " in str(
        error.value
    )


def test_a_run_fails_where_merging_changes_a_layer_and_names_it(folder: Path, tmp_path: Path) -> None:
    original = adapter.merge

    def spoils(model: Any) -> Any:
        merged = original(model)
        with torch.no_grad():
            merged.bert.encoder.layer[1].attention.self.value.weight.mul_(2)
        return merged

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ArtifactError) as error:
        patch.setattr(adapter, "merge", spoils)
        output = {"dir": str(tmp_path / "run"), "weights": "merged"}
        run(Cell("lora", "SequenceLabel", "bert").recipe(tiny("bert", folder), tmp_path, output=output))
    assert "merging the adapter into the weights changed the model's outputs" in str(error.value)
    assert "Different: bert.encoder.layer.1.attention.self.value" in str(error.value)
    assert not (tmp_path / "run" / "model").exists()


# Going on from an adapter


def _trained(method: str, folder: Path, out: Path, **changes: Any) -> Path:
    report = run(Cell(method, "SequenceLabel", "bert").recipe(tiny("bert", folder), out, **changes))
    assert report.model is not None
    return report.model


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_an_adapter_is_trained_further(method: str, folder: Path, tmp_path: Path) -> None:
    first = _trained(method, folder, tmp_path / "first")
    again = _trained(method, folder, tmp_path / "again", model={"backbone": str(first)}, adapter={"method": method})
    names = [path / "adapter" / "adapter_config.json" for path in (first, again)]
    bases = [json.loads(name.read_text())["base_model_name_or_path"] for name in names]
    assert bases[0] == bases[1] == str(tiny("bert", folder))
    one, other = (loading.load(path)(list(FIRST)) for path in (first, again))
    assert [r.scores for r in one] != [r.scores for r in other]


def test_an_adapter_is_folded_in_where_all_weights_are_trained(folder: Path, tmp_path: Path) -> None:
    first = _trained("lora", folder, tmp_path / "first")
    nothing = {"steps": 1, "learning_rate": 1e-12, "batch_size": 8}
    output = {"dir": str(tmp_path / "again")}
    again = _trained(
        "lora", folder, tmp_path, model={"backbone": str(first)}, adapter=None, train=nothing, output=output
    )
    assert not (again / "adapter").exists()
    one, other = (loading.load(path)(list(FIRST)) for path in (first, again))
    np.testing.assert_allclose(
        [list(r.scores.values()) for r in one], [list(r.scores.values()) for r in other], atol=1e-5
    )


def test_going_on_with_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    first, vectors = _trained("lora", folder, tmp_path / "first"), _trained("p_tuning", folder, tmp_path / "vectors")
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"adapter": {"method": "ia3"}}, RecipeError, "adapter.method is ia3, but the backbone holds a lora adapter"),
        ({"adapter": {"r": 16}}, RecipeError, "r is 16, and the adapter that is trained further has 8"),
        ({"adapter": {"targets": "all-linear"}}, RecipeError, "adapter.targets are those of the adapter"),
        ({"task": {"name": "classification", "labels": ["a", "b", "c"]}}, ArtifactError, "holds an adapter alone"),
    ]
    for number, (changes, kind, words) in enumerate(wrong):
        with pytest.raises(kind, match=words):
            _trained("lora", folder, tmp_path / str(number), model={"backbone": str(first)}, **changes)
    with pytest.raises(ArtifactError, match="cannot be trained further"):
        _trained("p_tuning", folder, tmp_path / "a", model={"backbone": str(vectors)}, adapter={"method": "p_tuning"})
    with pytest.raises(UnsupportedError, match=r"cannot be folded into the model's weights. Go on with it"):
        _trained("lora", folder, tmp_path / "b", model={"backbone": str(vectors)}, adapter=None, output={"dir": "x"})


def test_places_of_vectors_are_taken_from_the_models_length() -> None:
    made = Cell("prompt_tuning", "SequenceLabel", "bert").recipe(Path("x"), Path("y"))
    assert adapting.places(made) == 3
    assert adapting.places(Recipe(**{**made.model_dump(), "adapter": {"method": "prefix_tuning"}})) == 20
