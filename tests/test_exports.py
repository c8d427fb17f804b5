"""Models in other back ends' forms: which one is taken, what is refused, tokenizers kept without transformers.

What needs no back end installed; tests/test_exporting.py has the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpipe import backbone, exported, kept_tokens, upstream
from nlpipe.card import Card, Export, Origin
from nlpipe.errors import ArtifactError, UnsupportedError
from nlpipe.exporting import verifying
from nlpipe.locating import Location
from nlpipe.objectives.base import Window
from nlpipe.task import Family
from nlpipe.tokens import Tokenizers
from tests.support import tiny

KEPT = ("bert", "roberta", "distilbert", "modernbert", "deberta_v2", "gpt2", "llama", "bloom", "t5", "bart")


def an_export(backend: Any = "onnx", **changes: Any) -> Export:
    given: dict[str, Any] = {
        "backend": backend,
        "folder": backend,
        "model": "0",
        "files": {},
        "rows": 3,
        "changed": 0.0,
        "faster": 1.0,
    }
    return Export(**given | changes)


def a_card(*exports: Export, **changes: Any) -> Card:
    given: dict[str, Any] = {
        "task": "sentiment",
        "family": Family.ENCODER,
        "objective": "SequenceLabel",
        "window": Window(),
        "plugin": Origin(name="p"),
        "backbone": Origin(name="b"),
        "exports": exports,
    }
    return Card(**given | changes)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that seem to be there."""
    there = {"onnxruntime", "openvino", "ctranslate2"}
    monkeypatch.setattr(exported, "find_spec", lambda name: name if name in there else None)
    return there


HERE = Path("somewhere")


def test_the_newest_export_whose_back_end_is_there_is_taken(installed: set[str]) -> None:
    card = a_card(an_export("onnx"), an_export("openvino"))
    assert exported.choose(card, "auto", HERE, plain=True) == card.exports[1]
    installed.remove("openvino")
    assert exported.choose(card, "auto", HERE, plain=True) == card.exports[0]
    installed.clear()
    assert exported.choose(card, "auto", HERE, plain=True) is None
    with pytest.raises(UnsupportedError, match=r"ONNX Runtime is not installed: pip install 'nlpipe\[onnx\]'"):
        exported.choose(card, "onnx", HERE, plain=True)


def test_what_only_pytorch_has_takes_pytorch(installed: set[str]) -> None:
    card = a_card(an_export())
    assert exported.choose(card, "auto", HERE, plain=False) is None
    assert exported.choose(card, "torch", HERE, plain=True) is None
    with pytest.raises(UnsupportedError, match="leave them out"):
        exported.choose(card, "onnx", HERE, plain=False)


def test_a_form_that_is_not_there_is_named_with_the_command_that_makes_it(installed: set[str]) -> None:
    with pytest.raises(ArtifactError, match=r"It has: onnx\. To make one: nlpipe export somewhere --to openvino"):
        exported.choose(a_card(an_export()), "openvino", HERE, plain=True)
    with pytest.raises(UnsupportedError, match="did you mean 'onnx'"):
        exported.choose(a_card(an_export()), "onxx", HERE, plain=True)


def test_a_folder_with_an_export_alone_has_nothing_for_pytorch(installed: set[str]) -> None:
    card = a_card(an_export(), weights="exported")
    assert exported.choose(card, "auto", HERE, plain=True) == card.exports[0]
    with pytest.raises(ArtifactError, match="in no form that PyTorch reads, only as onnx"):
        exported.choose(card, "torch", HERE, plain=True)
    installed.clear()
    with pytest.raises(UnsupportedError, match="pip install"):
        exported.choose(card, "auto", HERE, plain=True)


def test_damaged_and_outdated_exports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"old")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph")
    files = {"model.onnx": exported.sha256(tmp_path / "onnx" / "model.onnx")}
    export = an_export(model=exported.fingerprint(tmp_path), files=files, quantize="int8")
    exported.check(tmp_path, a_card(export), export)
    (tmp_path / "model.safetensors").write_bytes(b"new")
    with pytest.raises(ArtifactError, match=r"have changed since they were exported to onnx.*--quantize int8 --data"):
        exported.check(tmp_path, a_card(export), export)
    exported.check(tmp_path, a_card(export, weights="exported"), export)
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"grape")
    with pytest.raises(ArtifactError, match="it is damaged, or was changed"):
        exported.check(tmp_path, a_card(export, weights="exported"), export)
    (tmp_path / "onnx" / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        exported.check(tmp_path, a_card(export, weights="exported"), export)


def of(architecture: str, folder: Path) -> Tokenizers:
    location = Location("tiny", tiny(architecture, folder))
    return backbone.tokenizers(location, upstream.read_config(location.folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.mark.parametrize("architecture", KEPT)
def test_a_kept_tokenizer_is_the_original(architecture: str, folder: Path, tmp_path: Path) -> None:
    tok = of(architecture, folder)
    assert kept_tokens.keep(tok, tmp_path)
    kept = kept_tokens.read(tmp_path)
    assert kept.start == tok.start
    assert not hasattr(kept.source.upstream, "save_pretrained"), "that would be transformers'"

    @given(st.text(max_size=60), st.text(max_size=20))
    def alike(first: str, second: str) -> None:
        for text in (first, second):
            assert kept.source.encode(text) == tok.source.encode(text)
        ids, others = (tok.source.encode(text).ids for text in (first, second))
        assert kept.source.pair.lay(ids, others) == tok.source.pair.lay(ids, others)
        assert kept.source.decode(ids) == tok.source.decode(ids)

    alike()


@pytest.mark.parametrize("architecture", ["marian"])
def test_a_tokenizer_in_python_is_not_kept(architecture: str, folder: Path, tmp_path: Path) -> None:
    assert not kept_tokens.keep(of(architecture, folder), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_kept_tokenizer_is_the_users_to_hear_of(folder: Path, tmp_path: Path) -> None:
    kept_tokens.keep(of("bert", folder), tmp_path)
    text = (tmp_path / kept_tokens.KEPT).read_text()
    for damaged in (text[: len(text) // 2], "{}"):
        (tmp_path / kept_tokens.KEPT).write_text(damaged)
        with pytest.raises(ArtifactError, match="is damaged"):
            kept_tokens.read(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "changed"),
    [
        ({"label": "a", "score": 0.50}, {"label": "a", "score": 0.54}, False),
        ({"label": "a", "score": 0.50}, {"label": "a", "score": 0.56}, True),
        ({"label": "a", "score": 0.50}, {"label": "b", "score": 0.50}, True),
        ({"spans": [{"start": 1}]}, {"spans": []}, True),
        ({"text": None}, {"text": None}, False),
        ({"log_probability": -40.0}, {"log_probability": -40.5}, False),
        ([True], [False], True),
    ],
)
def test_what_counts_as_another_answer(one: Any, other: Any, changed: bool) -> None:
    assert verifying.differ(one, other) is changed
