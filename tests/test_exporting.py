"""Exports, made and answered: each back end gives PyTorch's answers, loses what it says, and is refused beyond that.

They trace models, which takes some ten seconds each, and need the extras onnx, openvino and ctranslate2.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nlpipe
from nlpipe import exported
from nlpipe.cli import app
from nlpipe.errors import ArtifactError, NlpipeError, UnsupportedError
from nlpipe.exporting import _sample as sample
from nlpipe.exporting import export, graphs, texts, verifying
from nlpipe.pipelines import Pipeline
from nlpipe.runners.ctranslate2 import Ct2Runner
from nlpipe.testing import rules
from tests.support import UNSEEN_ROWS, Trainings, recipe, tiny, untrained

PACKAGES = {"onnx": "onnxscript", "openvino": "nncf", "ctranslate2": "ctranslate2"}

pytestmark = [pytest.mark.slow, pytest.mark.may_skip(reason="the back ends are extras")]


def needs(backend: str) -> None:
    if find_spec(PACKAGES[backend]) is None:
        pytest.skip(f"pip install 'nlpipe[{backend}]'")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows in a file."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in UNSEEN_ROWS))
    return file


@pytest.fixture(scope="module")
def model(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory, rows: Path) -> Path:
    """A trained model with an ONNX export in its folder."""
    needs("onnx")
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(trainings.get("bert", "bert").model, folder)
    export(str(folder), "onnx", data=str(rows))
    return folder


TEXTS = [text for text, _ in rules.first_keyword(40, seed=4, longest=50)]


def close(one: Pipeline, other: Pipeline, given: list[Any], within: float) -> None:
    for ours, theirs in zip(one(given), other(given), strict=True):
        assert ours.label == theirs.label
        np.testing.assert_allclose(list(ours.scores.values()), list(theirs.scores.values()), atol=within)


def test_what_is_exported_is_what_loads(model: Path) -> None:
    torch, onnx = nlpipe.load(model, backend="torch"), nlpipe.load(model)
    assert type(onnx.runner).__name__ == "OnnxRunner"
    assert type(torch.runner).__name__ == "TorchRunner"
    close(torch, onnx, TEXTS, 1e-5)
    (record,) = onnx.card.exports
    assert (record.backend, record.quantize, record.changed, record.lost, record.metric) == (
        "onnx",
        None,
        0.0,
        0.0,
        "accuracy",
    )


def test_it_answers_without_torch_and_transformers(model: Path, tmp_path: Path) -> None:
    """By every door, the command line too."""
    code = f"""
import sys, nlpipe
import io, nlpipe.cli
result = nlpipe.load({str(model)!r})({TEXTS[0]!r})
assert result.label in {nlpipe.load(model).card.labels!r}
assert nlpipe.pipeline(model={str(model)!r})({TEXTS[0]!r}) == result
assert nlpipe.pipeline("classification", model={str(model)!r})({TEXTS[0]!r}) == result
sys.argv = ["nlpipe", "predict", {str(model)!r}, "--input", "-", "--output", {str(tmp_path / "out.jsonl")!r}]
sys.stdin = io.TextIOWrapper(io.BytesIO({TEXTS[0]!r}.encode()))
try:
    nlpipe.cli.main()
except SystemExit as end:
    assert not end.code
print([name for name in ("torch", "transformers", "pandas", "peft", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_adapter_is_folded_into_what_is_exported(tmp_path: Path, rows: Path) -> None:
    """A LoRA run exported answers as the adapter beside its base does; the adapter's own folder stays as it is."""
    needs("onnx")
    made = recipe(
        tiny("bert", tmp_path),
        tmp_path / "run",
        adapter={"method": "lora", "r": 4},
        train={"steps": 6, "batch_size": 8, "learning_rate": 1e-2, "seed": 3},
        output={"dir": str(tmp_path / "run"), "weights": "adapter"},
    )
    folder = nlpipe.run(made).model
    assert folder is not None
    before = sorted(path.name for path in folder.iterdir())
    export(str(folder), "onnx", data=str(rows), output=tmp_path / "alone")
    assert sorted(path.name for path in folder.iterdir()) == before
    adapted = nlpipe.load(folder)
    assert adapted.card.weights == "adapter"
    close(adapted, nlpipe.load(tmp_path / "alone"), TEXTS, 1e-5)
    untouched = nlpipe.load({"one": folder})["one"]
    runner: Any = untouched.runner
    with runner.model.disable_adapter():
        bare = untouched(TEXTS[:4])
    assert all(abs(one.score - other.score) > 1e-4 for one, other in zip(bare, adapted(TEXTS[:4]), strict=True))
    export(str(folder), "onnx", data=str(rows))  # into the adapter's folder: `load` picks it up
    beside = nlpipe.load(folder)
    assert type(beside.runner).__name__ == "OnnxRunner"
    close(adapted, beside, TEXTS, 1e-5)


def test_a_folder_of_its_own_needs_no_weights(model: Path, tmp_path: Path, rows: Path) -> None:
    needs("openvino")
    report = export(str(model), "openvino", output=tmp_path / "small", data=str(rows), quantize="int8", max_loss=0.05)
    assert report.quantize == "int8"
    assert report.layers >= 12
    assert not list((tmp_path / "small").rglob("*.safetensors"))
    pipe = nlpipe.load(tmp_path / "small")
    plain = nlpipe.load(model, backend="torch")
    right = [ours.label == theirs.label for ours, theirs in zip(plain(TEXTS), pipe(TEXTS), strict=True)]
    assert np.mean(right) >= 0.9
    with pytest.raises(ArtifactError, match="in no form that PyTorch reads"):
        nlpipe.load(tmp_path / "small", backend="torch")
    with pytest.raises(ArtifactError, match=r"in no form that PyTorch reads, only for openvino: nlpipe\.load answers"):
        nlpipe.compat.pipeline("text-classification", model=str(tmp_path / "small"))
    with pytest.raises(ArtifactError, match="holds exported forms alone, asked as SequenceLabel"):
        nlpipe.pipeline("classification", model=tmp_path / "small", objective="Entailment")
    with pytest.raises(ArtifactError, match="exists already"):
        export(str(model), "openvino", output=tmp_path / "small")


def test_eight_bits_that_lose_too_much_are_refused(model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (model / "nlpipe.json").read_text()
    verify = verifying.verify

    def worse(*given: Any) -> Any:
        from dataclasses import replace

        return replace(verify(*given), score=0.9, lost=0.2)

    monkeypatch.setattr(verifying, "verify", worse)
    with pytest.raises(ArtifactError, match=r"accuracy would fall from 0.9000 to 0.7000 on 100 rows although half"):
        export(str(model), "onnx", quantize="int8", data=str(rows))
    assert (model / "nlpipe.json").read_text() == before


def test_sensitive_layers_stay_in_float(model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that goes once a tenth of the layers are left out."""
    calls: list[Any] = []
    verify = verifying.verify

    def first_worse(*given: Any) -> Any:
        from dataclasses import replace

        found = verify(*given)
        calls.append(found)
        return replace(found, score=1.0, lost=0.5) if len(calls) == 1 else found

    monkeypatch.setattr(verifying, "verify", first_worse)
    copy = model.parent / "copy"
    shutil.copytree(model, copy)
    report = export(str(copy), "onnx", quantize="int8", data=str(rows), max_loss=0.1)
    assert report.in_float == round(0.1 * report.layers) > 0
    assert [one.quantize for one in nlpipe.load(copy).card.exports] == ["int8"]


def test_on_the_command_line(model: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    run = CliRunner().invoke
    assert run(app, ["predict", str(model), "--input", str(rows), "--output", str(out), "--quiet"]).exit_code == 0
    assert len(out.read_text().splitlines()) == len(UNSEEN_ROWS)
    scores = json.loads(run(app, ["evaluate", str(model), "--data", str(rows), "--json"]).stdout)
    again = json.loads(run(app, ["evaluate", str(model), "--data", str(rows), "--json", "--backend", "torch"]).stdout)
    assert scores["scores"] == again["scores"]
    shown = run(app, ["export", str(model), "--to", "onnx", "--quiet", "--json"])
    assert json.loads(shown.stdout)["backend"] == "onnx"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "onxx"}, "did you mean 'onnx'"),
        ({"to": "onnx", "quantize": "int8"}, "add --data FILE"),
        ({"to": "onnx", "quantize": "int4"}, "there is: int8"),
        ({"to": "ctranslate2"}, "writes no text, so CTranslate2 cannot take it"),
        ({"to": "onnx", "task": "sentiment"}, "was trained for classification, not for sentiment"),
    ],
)
def test_what_is_wrong_is_said(model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NlpipeError, match=message):
        export(str(model), **arguments)


def test_weights_that_changed_since_are_noticed(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="have changed since they were exported to onnx"):
        nlpipe.load(copy)
    assert nlpipe.load(copy, backend="torch")(TEXTS[0]).label


# Own heads (marian), opened attention (llama), positions of their own (t5), local attention (modernbert)
GRAPHS = [
    *(("bert", "ner"), ("bert", "qa"), ("marian", "classification"), ("llama", "qa"), ("t5", "qa")),
    *(("modernbert", "similarity"), ("gpt2", "ner")),
]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize(("architecture", "task"), GRAPHS)
def test_every_kind_of_model_is_traced(architecture: str, task: str, backend: str, tmp_path: Path) -> None:
    needs(backend)
    labels = {"classification": ("a", "b", "c"), "ner": ("O", "B-x", "I-x")}.get(task, ())
    pipe = untrained(task, tiny(architecture, tmp_path), labels)
    examples = list(type(pipe.task).samples())
    batches = verifying.batches(pipe, examples)
    graphs.WRITERS[backend](pipe.runner.model, pipe.objective, sample(batches), tmp_path)  # type: ignore[attr-defined]
    runner = exported.opened(backend, tmp_path)
    for size in (1, 3, 8):  # batch and length are free
        verifying.require_same(pipe, runner, verifying.batches(pipe, examples, size))
    with pytest.raises(UnsupportedError, match="writes no text"):
        runner.generate(batches[0], None)  # type: ignore[arg-type]


WRITE = {"gpt2": "a decoder", "llama": "rotary", "t5": "relative", "bart": "a forced start", "marian": "an odd start"}


@pytest.mark.parametrize("architecture", WRITE)
def test_texts_are_those_of_pytorch(architecture: str, tmp_path: Path) -> None:
    needs("ctranslate2")
    backbone = tiny(architecture, tmp_path)
    pipe = nlpipe.pipeline("generation", model=backbone, generation={"max_new_tokens": 10})
    texts.write(pipe.runner.model, pipe.tokenizers, tmp_path / "ct2", None)  # type: ignore[attr-defined]
    other = Pipeline(pipe.card, Ct2Runner.open(tmp_path / "ct2"), pipe.tokenizers, plugins=pipe.plugins)
    given = ["ba north", "x", "ge south ba ba ge " * 3]
    # Beams end their search by rules of their own; those of pairs agree even for models that have learnt nothing.
    beams = [{"num_beams": 3}] if pipe.card.family == "encoder-decoder" else []
    for options in ({}, {"max_new_tokens": 3}, *beams):
        for ours, theirs in zip(pipe(given, **options), other(given, **options), strict=True):
            assert (ours.text, ours.ended) == (theirs.text, theirs.ended)
            # Marian's converter leaves the padding token out of what may be written: all else is a little likelier.
            assert theirs.log_probability == pytest.approx(ours.log_probability, abs=0.1)
    # What is told token by token is what a pass over the answer says, which a setting that changes chances asks for.
    pairs = list(zip(other(given), other(given, min_new_tokens=1), strict=True))
    same = [(heard, judged) for heard, judged in pairs if heard.text == judged.text]
    assert same
    for heard, judged in same:
        assert heard.log_probability == pytest.approx(judged.log_probability, abs=1e-4)
    assert "".join(other.stream(given[0])) == other(given[0]).text
    with pytest.raises(UnsupportedError, match="cannot draw"):
        other(given[0], do_sample=True)
    with pytest.raises(UnsupportedError, match=r"generation\.encoder_repetition_penalty is not done"):
        other(given[0], encoder_repetition_penalty=1.2)


def test_an_architecture_that_ctranslate2_does_not_know(tmp_path: Path) -> None:
    needs("ctranslate2")
    pipe = nlpipe.pipeline("generation", model=tiny("gpt_neo", tmp_path))
    with pytest.raises(UnsupportedError, match="does not know GPTNeoForCausalLM; it knows models that write of: Bart"):
        texts.write(pipe.runner.model, pipe.tokenizers, tmp_path / "ct2", None)  # type: ignore[attr-defined]
