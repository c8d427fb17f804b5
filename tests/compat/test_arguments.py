"""Names and arguments of version 4: each is heard, or one message says why not."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import nlpipe
from nlpipe.compat import making, names, pipeline, settings
from nlpipe.errors import ArtifactError, DataError, UnsupportedError
from tests.compat.support import TEXTS, base, headed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    return headed("bert", "SequenceClassification", folder, ("no", "so", "yes"))


def test_every_argument_is_in_the_table() -> None:
    """The signature, the settings, and the page's tables are one thing."""
    assert set(making.ARGUMENTS) == set(inspect.signature(pipeline).parameters)
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "compat_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "compat.md").read_text(encoding="utf-8")
    assert module.page() == page, "run `python docs/compat_tables.py`"
    fields = {name for kind in settings.SETTINGS.values() for name in kind.model_fields} - {"generate"}
    for name in {*making.ARGUMENTS, *fields, *settings.GENERATE, *settings.NOTHING, *names.DEFAULTS, *names.ALIASES}:
        assert f"`{name}`" in page, name


def test_nothing_that_version_5_takes_is_unknown() -> None:
    """Where both have a pipeline: the arguments of the installed version, read off its own code."""
    theirs = transformers.pipelines
    for kind, their in {
        "text-classification": theirs.TextClassificationPipeline,
        "token-classification": theirs.TokenClassificationPipeline,
        "fill-mask": theirs.FillMaskPipeline,
        "feature-extraction": theirs.FeatureExtractionPipeline,
        "text-generation": theirs.TextGenerationPipeline,
    }.items():
        taken = inspect.signature(their._sanitize_parameters).parameters
        named = {name for name, one in taken.items() if one.kind is not one.VAR_KEYWORD} - {"self"}
        ours = settings.SETTINGS[kind]
        # tokenizer_encode_kwargs and return_type came with version 5, or were its own business
        unknown = named - set(ours.model_fields) - ours.further - {"return_type", "tokenizer_encode_kwargs"}
        assert not unknown, f"{kind}: {unknown}"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("text-clasification", "did you mean 'text-classification'"),
        ("image-classification", "not of text; transformers 5 still has"),
        ("conversational", "text-generation takes a conversation"),
        ("translation_en", "did you mean 'translation"),
    ],
)
def test_unknown_names(task: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        pipeline(task, model="x")


def test_names_are_one(model: str) -> None:
    assert pipeline("sentiment-analysis", model=model)(TEXTS) == pipeline("text-classification", model=model)(TEXTS)
    assert pipeline(model=model).task == "text-classification"  # as its config says
    assert nlpipe.compat.pipeline is pipeline


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"framework": "tf"}, "has PyTorch alone"),
        ({"trust_remote_code": True}, "would run Python files"),
        ({"config": "x"}, "config lies in its folder"),
        ({"image_processor": "x"}, "text alone"),
        ({"pipeline_class": dict}, "write a plugin"),
        ({"model_kwargs": {"cache_dir": "x"}}, "set HF_HOME"),
        ({"model_kwargs": {"torch_dtyp": "x"}}, "did you mean 'torch_dtype'"),
        ({"top_n": 3}, r"took no argument 'top_n' in transformers 4; did you mean 'top_k'"),
        ({"top_k": 0}, "top_k = 0: .*greater than or equal to 1"),
        ({"function_to_apply": "softmx"}, "function_to_apply = 'softmx': must be"),
        ({"binary_output": True}, "binary_output"),
        ({"device": "cuda:99"}, "not on this machine"),
        ({"device_map": {"a": 0}}, "one device"),
        ({"torch_dtype": "float17"}, "unknown dtype 'float17'"),
    ],
)
def test_arguments_that_cannot_be_heard(model: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        pipeline("text-classification", model=model, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"framework": "pt", "use_fast": True, "token": None, "use_auth_token": True, "revision": "main"},
        {"device": -1, "trust_remote_code": False, "batch_size": 4, "num_workers": 2, "padding": True},
        {"device": "cpu", "torch_dtype": torch.float32, "model_kwargs": {"device_map": None}},
        {"device": torch.device("cpu"), "dtype": "auto", "binary_output": False},
        {"device": 0},  # version 5 takes the processor where there is no GPU; so do we, with a word
        {"device_map": "auto", "model_kwargs": {"torch_dtype": "float32"}},
    ],
)
def test_arguments_that_change_nothing_here(model: str, options: dict[str, Any]) -> None:
    assert pipeline("text-classification", model=model, **options)(TEXTS) == pipeline(model=model)(TEXTS)


def test_a_call_stands_over_what_the_pipeline_was_made_with(model: str) -> None:
    made = pipeline("text-classification", model=model, top_k=2)
    assert len(made(TEXTS)[0]) == 2
    assert len(made(TEXTS, top_k=3)[0]) == 3
    assert len(made(TEXTS)[0]) == 2
    with pytest.raises(UnsupportedError, match="did you mean 'top_k'"):
        made(TEXTS, topk=3)


def test_models_that_are_loaded(model: str) -> None:
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    made = pipeline("text-classification", model=network, tokenizer=tokenizer)
    assert made(TEXTS) == pipeline("text-classification", model=model)(TEXTS)
    assert made.model is network
    assert made.tokenizer is tokenizer
    assert str(made.device) == "cpu"
    assert pipeline("text-classification", model=model, tokenizer=model)(TEXTS) == made(TEXTS)
    with pytest.raises(UnsupportedError, match="needs its tokenizer"):
        pipeline("text-classification", model=network)
    with pytest.raises(UnsupportedError, match="not dict"):
        pipeline("text-classification", model={}, tokenizer=tokenizer)


def test_models_that_do_another_thing(folder: Path, model: str) -> None:
    with pytest.raises(
        ArtifactError, match=r"BertForSequenceClassification, which has no head for ner; it fits text-cl"
    ):
        pipeline("ner", model=model)
    with pytest.raises(ArtifactError, match="it fits fill-mask"):
        pipeline("question-answering", model=str(base("bert", folder)))
    with pytest.raises(UnsupportedError, match="a label called entailment; this one has no, so, yes"):
        pipeline("zero-shot-classification", model=model)
    with pytest.raises(ArtifactError, match="no model is named, and the one that transformers 4 took for ner"):
        pipeline("ner")
    with pytest.raises(ArtifactError, match="no model folder"):
        pipeline("ner", model="./nowhere")
    with pytest.raises(UnsupportedError, match="name a task"):
        pipeline()


def test_inputs_that_are_none(model: str) -> None:
    made = pipeline("text-classification", model=model)
    for value, said in [
        (3, "is a text, not int"),
        (None, "not NoneType"),
        (b"a", "not bytes"),
        ({"txt": "a"}, "without 'txt'"),
        ([["a", "b"]], "not a list"),
        (["a", 3], "input 1: an input is a text, not int"),
    ]:
        with pytest.raises(DataError, match=said):
            made(value)
    assert made([]) == []
    with pytest.raises(DataError, match="at least one input"):
        pipeline("ner", model=headed("bert", "TokenClassification", Path(model).parent, ("O", "B-X")))([])


def test_zero_shot_without_labels(folder: Path) -> None:
    made = pipeline(
        "zero-shot-classification", model=headed("bert", "SequenceClassification", folder, ("entailment", "x"))
    )
    for options, said in [
        ({}, "candidate_labels is missing"),
        ({"candidate_labels": []}, "candidate_labels is missing or empty"),
        ({"candidate_labels": ["a"], "hypothesis_template": "no"}, "has no {} for the label"),
    ]:
        with pytest.raises(UnsupportedError, match=said):
            made(TEXTS[0], **options)


def test_blanks_that_are_none(folder: Path) -> None:
    made = pipeline("fill-mask", model=str(base("bert", folder)))
    with pytest.raises(DataError, match=r"there is no \[MASK\] in the text"):
        made("nothing")
    with pytest.raises(DataError, match=r"the text has \d+ tokens, the model reads 64 at once.*tokenizer_kwargs"):
        made("[MASK] " + " ".join(TEXTS * 4))
    assert len(made("[MASK] " + " ".join(TEXTS * 4), tokenizer_kwargs={"truncation": True})) == 5
    with pytest.raises(UnsupportedError, match="'stride' is not heard"):
        made("[MASK]", tokenizer_kwargs={"stride": 3})
    with pytest.raises(UnsupportedError, match="stride reads a text in windows, which only entities join"):
        pipeline("ner", model=headed("bert", "TokenClassification", folder, ("O", "B-X")), stride=3)


def test_saving(model: str, tmp_path: Path) -> None:
    pipeline("text-classification", model=model).save_pretrained(tmp_path)
    assert pipeline("text-classification", model=tmp_path)(TEXTS) == pipeline("text-classification", model=model)(TEXTS)
