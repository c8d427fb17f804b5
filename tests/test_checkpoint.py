"""Checkpoints are exact to the bit, and whole or absent however a run ends."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpipe import checkpoint, files
from nlpipe.batching import derive
from nlpipe.checkpoint import Found, differences, fingerprint, latest, rotate, save
from nlpipe.errors import ArtifactError
from nlpipe.optimizer_state import parameter_names, take

FILES = ["weights.safetensors", "optimizer.safetensors", "optimizer.json", "state.json"]


class Toy(torch.nn.Module):
    """Two layers with dropout; `spare` never gets a gradient, so the optimiser keeps no state of it."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Linear(7, 13)
        self.norm = torch.nn.LayerNorm(13)
        self.drop = torch.nn.Dropout(0.3)
        self.last = torch.nn.Linear(13, 3, bias=False)
        self.spare = torch.nn.Parameter(torch.zeros(2, 3))
        self.to(dtype)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.norm(self.first(given)).relu()))  # type: ignore[no-any-return]


def groups(model: Toy) -> list[dict[str, Any]]:
    """Weight decay for matrices only, as trainers do: the optimiser's order is not the model's."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]


OPTIMIZERS: dict[str, Callable[[Toy], torch.optim.Optimizer]] = {
    "adamw": lambda model: torch.optim.AdamW(groups(model), lr=1e-2),
    "adamw loop": lambda model: torch.optim.AdamW(groups(model), lr=1e-2, foreach=False, amsgrad=True),
    "adamw fused": lambda model: torch.optim.AdamW(groups(model), lr=1e-2, fused=True),
    "adamw tensor lr": lambda model: torch.optim.AdamW(groups(model), lr=torch.tensor(1e-2), foreach=False),
    "adamw named": lambda model: torch.optim.AdamW(model.named_parameters(), lr=1e-2),
    "sgd": lambda model: torch.optim.SGD(groups(model), lr=1e-2, momentum=0.9, nesterov=True),
    "sgd plain": lambda model: torch.optim.SGD(groups(model), lr=1e-2),
    "adafactor": lambda model: torch.optim.Adafactor(groups(model), lr=1e-2),
    "rprop": lambda model: torch.optim.Rprop(groups(model), lr=1e-2),
}


def train(model: Toy, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(derive(1, "toy", step))
        for group in optimizer.param_groups:  # a schedule, as a function of the step
            lr = 1e-2 * (1 - step / 40)
            group["lr"] = torch.tensor(lr) if isinstance(group["lr"], torch.Tensor) else lr
        loss = model(torch.randn(5, 7, dtype=model.last.weight.dtype)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def put(folder: Path, step: int, model: Toy, optimizer: torch.optim.Optimizer, state: Any = None, **rest: Any) -> Path:
    names = parameter_names(optimizer, model.named_parameters())
    return save(
        folder,
        step,
        tensors=dict(model.named_parameters()),
        optimizer=take(optimizer, names),
        state=state or {"loss": 0.1},
        **rest,
    )


def bits(value: Any) -> Any:
    """A nested structure in which tensors are replaced by dtype, shape and bytes."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), bytes(value.detach().contiguous().view(-1).view(torch.uint8).tolist())
    if isinstance(value, Mapping):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(bits(item) for item in value)
    return type(value), value


@pytest.fixture
def trained() -> tuple[Toy, torch.optim.Optimizer]:
    model = Toy(0)
    optimizer = OPTIMIZERS["adamw"](model)
    train(model, optimizer, range(3))
    return model, optimizer


@pytest.fixture
def two(tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> Path:
    """A folder with checkpoints of steps 3 and 6."""
    model, optimizer = trained
    put(tmp_path, 3, model, optimizer, {"step": 3, "loss": 0.3, "nested": {"names": ["ä", None, True]}})
    train(model, optimizer, range(3, 6))
    put(tmp_path, 6, model, optimizer, {"step": 6, "loss": 0.123456789, "nested": {"names": ["ä", None, True]}})
    return tmp_path


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.iterdir() if path.name.startswith("step-"))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def found(folder: Path) -> int | None:
    """The step of the newest good checkpoint; that it can be loaded is checked too."""
    good = latest(folder).checkpoint
    if good is None:
        return None
    assert good.state["step"] == good.step
    model = Toy(9)
    model.load_state_dict(good.weights())
    optimizer = OPTIMIZERS["adamw"](model)
    good.restore_optimizer(optimizer, parameter_names(optimizer, model.named_parameters()))
    return good.step


# Exactness


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    straight = Toy(0)
    optimizer = OPTIMIZERS[kind](straight)
    train(straight, optimizer, range(20))

    model = Toy(0)
    first = OPTIMIZERS[kind](model)
    train(model, first, range(9))
    put(tmp_path, 9, model, first)
    train(model, first, range(9, 13))  # steps that are lost with the process

    good, skipped = latest(tmp_path)
    assert good is not None
    assert (good.step, skipped) == (9, [])
    resumed = Toy(77)
    resumed.load_state_dict(good.weights())
    second = OPTIMIZERS[kind](resumed)
    good.restore_optimizer(second, parameter_names(second, resumed.named_parameters()))
    train(resumed, second, range(9, 20))

    assert bits(resumed.state_dict()) == bits(straight.state_dict())
    assert bits(second.state_dict()) == bits(optimizer.state_dict())
    assert bits(Toy(0).state_dict()) != bits(straight.state_dict())


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("taken", [0, 4])
def test_an_optimisers_state_comes_back_as_it_was(tmp_path: Path, kind: str, taken: int) -> None:
    model = Toy(0)
    optimizer = OPTIMIZERS[kind](model)
    train(model, optimizer, range(taken))
    put(tmp_path, taken, model, optimizer)
    good = latest(tmp_path).checkpoint
    assert good is not None
    other = Toy(1)
    fresh = OPTIMIZERS[kind](other)
    train(other, fresh, range(2))
    good.restore_optimizer(fresh, parameter_names(fresh, other.named_parameters()))
    assert bits(fresh.state_dict()) == bits(optimizer.state_dict())


def test_moments_keep_a_dtype_that_is_not_their_parameters(tmp_path: Path) -> None:
    model = Toy(0, torch.bfloat16)
    optimizer = OPTIMIZERS["adamw loop"](model)
    train(model, optimizer, range(2))
    for values in optimizer.state.values():
        values["exp_avg"] = torch.randn_like(values["exp_avg"], dtype=torch.float32)
    put(tmp_path, 2, model, optimizer)
    good = latest(tmp_path).checkpoint
    assert good is not None
    assert bits(good.weights()) == bits(dict(model.named_parameters()))
    fresh = OPTIMIZERS["adamw loop"](model)
    good.restore_optimizer(fresh, parameter_names(fresh, model.named_parameters()))
    assert bits(fresh.state_dict()) == bits(optimizer.state_dict())
    assert {values["exp_avg"].dtype for values in fresh.state.values()} == {torch.float32}


def test_the_restored_state_needs_the_file_no_more(two: Path) -> None:
    good = latest(two).checkpoint
    assert good is not None
    model = Toy(1)
    optimizer = OPTIMIZERS["adamw"](model)
    good.restore_optimizer(optimizer, parameter_names(optimizer, model.named_parameters()))
    before = bits(optimizer.state_dict())
    (good.path / "optimizer.safetensors").write_bytes(b"\xff" * 4000)  # into the same pages
    assert bits(optimizer.state_dict()) == before


def test_groups_may_come_in_another_order(tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> None:
    model, optimizer = trained
    put(tmp_path, 3, model, optimizer)
    good = latest(tmp_path).checkpoint
    assert good is not None
    turned = torch.optim.AdamW([{**g, "params": g["params"][::-1]} for g in groups(model)[::-1]], lr=5.0)
    good.restore_optimizer(turned, parameter_names(turned, model.named_parameters()))
    assert [group["weight_decay"] for group in turned.param_groups] == [0.0, 0.1]
    for parameter in model.parameters():
        assert bits(turned.state.get(parameter)) == bits(optimizer.state.get(parameter))


def test_tied_sliced_transposed_and_empty_weights_are_kept(
    tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]
) -> None:
    model, optimizer = trained
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": base,
        "tied": base,
        "row": base[1],
        "turned": base.T,
        "none": torch.empty(0, 3),
        "none too": torch.empty(0),
        "scalar": torch.tensor(math.nan),
        "flags": torch.tensor([True, False]),
        "half": base.half(),
    }
    names = parameter_names(optimizer, model.named_parameters())
    save(tmp_path, 1, tensors=tensors, optimizer=take(optimizer, names), state={})
    good = latest(tmp_path).checkpoint
    assert good is not None
    assert bits(good.weights()) == bits(tensors)


def test_the_state_comes_back_as_json_says_it(tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> None:
    state = {"best": -math.inf, "loss": math.nan, "tiny": 5e-324, "third": 1 / 3, "pair": (1, 2), "text": "ü\n", 3: 4}
    put(tmp_path, 5, *trained, state)
    good = latest(tmp_path).checkpoint
    assert good is not None
    assert math.isnan(good.state.pop("loss"))
    assert good.state == {"best": -math.inf, "tiny": 5e-324, "third": 1 / 3, "pair": [1, 2], "text": "ü\n", "3": 4}


def test_no_file_is_a_pickle(two: Path) -> None:
    assert sorted(path.name for path in (two / "step-00000006").iterdir()) == sorted(FILES)
    for name in FILES[2:]:
        json.loads((two / "step-00000006" / name).read_text())


def test_what_json_cannot_say_is_refused_before_anything_is_written(
    tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]
) -> None:
    model, optimizer = trained
    with pytest.raises(TypeError):
        put(tmp_path / "new", 1, model, optimizer, {"path": Path()})
    optimizer.param_groups[0]["strange"] = object()
    with pytest.raises(TypeError, match=r"group 0/strange is a object"):
        put(tmp_path / "new", 1, model, optimizer)
    assert not (tmp_path / "new").exists()


# Another recipe's checkpoint


def test_other_parameters_are_named(two: Path) -> None:
    good = latest(two).checkpoint
    assert good is not None
    model = Toy(0)
    model.last = torch.nn.Linear(13, 4, bias=False)
    optimizer = OPTIMIZERS["adamw"](model)
    with pytest.raises(ArtifactError, match=r"last\.weight was \[3, 13\], is \[4, 13\].*Resume with the recipe"):
        good.restore_optimizer(optimizer, parameter_names(optimizer, model.named_parameters()))
    some = torch.optim.AdamW(model.first.parameters())
    with pytest.raises(ArtifactError, match=r"4 parameters differ: .* is not there"):
        good.restore_optimizer(some, parameter_names(some, model.named_parameters()))


def test_other_groups_are_refused(two: Path) -> None:
    good = latest(two).checkpoint
    assert good is not None
    model = Toy(0)
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ArtifactError, match="grouped otherwise"):
        good.restore_optimizer(optimizer, parameter_names(optimizer, model.named_parameters()))


def test_names_must_fit_the_optimiser(tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> None:
    model, optimizer = trained
    for names in (["a"], ["a"] * 6, []):
        with pytest.raises(ValueError, match="parameters"):
            save(tmp_path, 1, tensors={}, optimizer=take(optimizer, names), state={})
    with pytest.raises(ValueError, match="not the model's"):
        parameter_names(optimizer, Toy(0).named_parameters())
    with pytest.raises(ValueError, match="2 of the optimiser's 6"):
        parameter_names(optimizer, [item for item in model.named_parameters() if "norm" not in item[0]])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.", max_size=2), inner, max_size=3),
    max_leaves=8,
)
MAPPING = st.dictionaries(st.text("abc.", max_size=2), JSON, max_size=4)


@settings(max_examples=200, deadline=None)
@given(MAPPING, MAPPING)
def test_fingerprints_agree_where_nothing_differs(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert (fingerprint(old) == fingerprint(new)) == (not differences(old, new))
    assert fingerprint(dict(reversed(old.items()))) == fingerprint(json.loads(json.dumps(old))) == fingerprint(old)


def test_differences_are_told_key_by_key() -> None:
    old = {"task": "ner", "train": {"epochs": 3, "seed": 1, "warmup": 0.1}, "labels": ["a"], "flag": 1, "gone": {}}
    new = {"train": {"seed": 1, "epochs": 5, "freeze": "all"}, "task": "ner", "labels": ["a", "b"], "flag": True}
    told = {problem.key: problem.message for problem in differences(old, new, "recipe")}
    assert told == {
        "train.epochs": "was 3, is 5",
        "train.warmup": "was 0.1, is not set",
        "train.freeze": 'was not set, is "all"',
        "labels": 'was ["a"], is ["a", "b"]',
        "flag": "was 1, is true",
        "gone": "was {}, is not set",
    }
    assert {problem.where for problem in differences(old, new, "recipe")} == {"recipe"}
    assert all(len(problem.message) < 150 for problem in differences({"a": "x" * 1000}, {"a": [0] * 1000}))


def test_a_fingerprint_is_pinned() -> None:
    """A released version's fingerprints never change, or no training could be resumed after an upgrade."""
    told = fingerprint({"b": [1, 2.5, None], "a": {"ü": True}})
    assert told == "1d44e843f260da50c7436a2f8f04b511003558a7836855e9d615eacf8bc99d3e"


# Torn and changed checkpoints


def tear(path: Path, how: str) -> None:
    raw = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        middle = len(raw) // 2
        flipped = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
        path.write_bytes({"emptied": b"", "cut": raw[:-1], "longer": raw + b" ", "flipped": flipped}[how])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in FILES
        for how in ("deleted", "emptied", "cut", "longer", "flipped", "a folder")
        if (name, how) != ("state.json", "longer")  # a blank behind JSON changes nothing
    ],
)
def test_a_torn_checkpoint_is_passed_over_with_a_reason(two: Path, name: str, how: str) -> None:
    tear(two / "step-00000006" / name, how)
    good, skipped = latest(two)
    assert good is not None
    assert good.step == 3
    ((path, reason),) = skipped
    assert path == two / "step-00000006"
    assert name in reason or how == "a folder"
    assert found(two) == 3


def test_any_changed_bit_of_the_state_shows(two: Path) -> None:
    path = two / "step-00000006" / "state.json"
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert len(latest(two).skipped) == 1, f"byte {at}"
    path.write_bytes(raw)
    assert latest(two).skipped == []


def test_all_torn_means_none(two: Path) -> None:
    for step in (3, 6):
        tear(two / f"step-{step:08d}" / "weights.safetensors", "cut")
    good, skipped = latest(two)
    assert good is None
    assert [path.name for path, _ in skipped] == ["step-00000006", "step-00000003"]


def test_a_renamed_checkpoint_or_one_of_another_format_is_passed_over(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two / "step-00000006").rename(two / "step-00000099")
    assert "step 6" in latest(two).skipped[0][1]
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    assert "format 1, this version of nlpipe reads 2" in latest(two).skipped[1][1]


def test_other_things_in_the_folder_are_let_be(two: Path) -> None:
    others = ["step-3", "step-00000009-old", "notes", ".hidden"]
    for name in others:
        (two / name).mkdir()
    (two / "step-00000011").write_text("a file")
    good, skipped = latest(two)
    assert good is not None
    assert (good.step, [path.name for path, _ in skipped]) == (6, ["step-00000011"])
    rotate(two, last=0)
    assert sorted(path.name for path in two.iterdir()) == sorted([*others, "step-00000006", "step-00000011"])


def test_no_folder_means_no_checkpoint_and_a_file_is_a_mistake(tmp_path: Path) -> None:
    assert latest(tmp_path / "none") == Found(None, [])
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot list the checkpoints"):
        latest(tmp_path / "file")


# Failing disks and killed processes


class Killed(BaseException):
    """The process died here; nothing it does afterwards reaches the disk."""


class Disk:
    """Counts what is done to the disk and strikes at call number `at`: an error, or the death of the process."""

    WATCHED = ("replace", "fsync", "mkdir", "unlink", "rmdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, strike: Callable[[], BaseException]) -> None:
        self.calls, self.at, self.strike = 0, at, strike
        for name in self.WATCHED:
            monkeypatch.setattr(os, name, self.watch(getattr(os, name)))
        monkeypatch.setattr(files, "write", self.watch(files.write, self.half_a_file))
        monkeypatch.setattr(checkpoint, "save_file", self.watch(safetensors.torch.save_file, self.half_tensors))
        monkeypatch.setattr(shutil, "rmtree", self.watch(shutil.rmtree))

    def half_a_file(self, path: Path, data: str) -> None:
        path.write_text(data[: len(data) // 2])

    def half_tensors(self, tensors: Any, path: Path) -> None:
        path.write_bytes(b"\x10\x00\x00")

    def watch(self, does: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def watched(*given: Any, **options: Any) -> Any:
            self.calls += 1
            dead = self.calls > self.at and self.strike is Killed
            if self.calls == self.at or dead:
                if half is not None and not dead:
                    half(*given, **options)
                raise self.strike()
            return does(*given, **options)

        return watched


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def struck(at: int, strike: Callable[[], BaseException]) -> Iterator[Disk]:
    with pytest.MonkeyPatch.context() as patch:
        yield Disk(patch, at, strike)


@pytest.mark.parametrize("again", [False, True], ids=["new step", "same step again"])
@pytest.mark.parametrize("strike", [full, Killed], ids=["full disk", "killed"])
def test_whenever_it_strikes_a_whole_checkpoint_stands(two: Path, strike: Any, again: bool) -> None:
    """Strikes at the first call to the disk, the second, … until a save ends before the strike."""
    model = Toy(5)
    optimizer = OPTIMIZERS["adamw"](model)
    train(model, optimizer, range(2))
    step = 6 if again else 9
    outcomes = set()
    for at in range(1, 100):
        folder = two.parent / f"{two.name}-{at}"
        shutil.copytree(two, folder)
        with struck(at, strike) as disk:
            try:
                put(folder, step, model, optimizer, {"step": step}, last=1)
                outcome = "saved"
            except ArtifactError as error:
                outcome = "told"
                assert "No space left on device. It needs 0.0 MB" in str(error)
                assert ("The checkpoint of step 3 stands" if again else "The checkpoint of step 6 stands") in str(error)
            except Killed:
                outcome = "killed"
        outcomes.add(outcome)
        good, skipped = latest(folder)
        assert skipped == [], f"call {at}: half a checkpoint is visible"
        assert good is not None
        # Killed between the two renames that replace a folder, a run falls back to the step before.
        assert found(folder) in {6, 3 if again and strike is Killed else step}
        if outcome == "saved":
            assert found(folder) == step
        if outcome != "killed" and at > 1:
            assert len(hidden(folder)) <= (disk.calls >= at), "a leftover only where removing it failed"
        put(folder, 12, model, optimizer, {"step": 12})
        assert not [name for name in hidden(folder) if name.startswith(".tmp-")]
        assert found(folder) == 12
        if disk.calls < at:
            break
    assert disk.calls < at, "the strike was never outlived"
    assert at > 15
    assert outcomes == {"saved", "killed" if strike is Killed else "told"}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the kernel's own refusal, below Python and below safetensors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 1000, 1500])
def test_a_refusal_by_the_kernel_is_told(two: Path, trained: tuple[Toy, torch.optim.Optimizer], size: int) -> None:
    with (
        pytest.raises(ArtifactError, match=r"step-00000009: .*File too large.* step 6 stands: make room"),
        file_size_limit(size),
    ):
        put(two, 9, *trained, {"step": 9})
    assert steps(two) == [3, 6]
    assert hidden(two) == []
    assert found(two) == 6


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENAMETOOLONG, errno.EPIPE])
def test_any_error_of_the_system_is_told(
    two: Path, trained: tuple[Toy, torch.optim.Optimizer], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def failing(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "write", failing)
    with pytest.raises(ArtifactError, match=f"{os.strerror(number)}.* step 6 stands"):
        put(two, 9, *trained, {"step": 9})
    assert (steps(two), hidden(two)) == ([3, 6], [])


def test_the_first_checkpoint_may_fail_too(tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="There is no earlier one"):
        put(tmp_path / "file", 1, *trained)


# Rotation


@pytest.fixture
def many(tmp_path: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> Path:
    """A folder with checkpoints of steps 1 to 5."""
    for step in range(1, 6):
        put(tmp_path, step, *trained, {"step": step}, last=9)
    return tmp_path


def test_the_last_and_the_best_are_kept(many: Path) -> None:
    removed = rotate(many, keep=[2], last=2)
    assert sorted(path.name for path in removed) == ["step-00000001", "step-00000003"]
    assert steps(many) == [2, 4, 5]
    assert hidden(many) == []
    assert rotate(many, keep=[2], last=2) == []


def test_saving_rotates(many: Path, trained: tuple[Toy, torch.optim.Optimizer]) -> None:
    put(many, 6, *trained, {"step": 6}, keep=(1,))
    assert steps(many) == [1, 5, 6]
    put(many, 4, *trained, {"step": 4}, keep=(), last=1)
    assert steps(many) == [4, 6], "what has just been saved stays, whatever its number"


@pytest.mark.parametrize("how", ["deleted", "cut", "flipped"])
def test_the_last_good_one_is_never_removed(many: Path, how: str) -> None:
    for step in (3, 4, 5):
        tear(many / f"step-{step:08d}" / "weights.safetensors", how)
    rotate(many, last=0)
    assert found(many) == 2
    assert 1 not in steps(many)
    if how != "flipped":
        assert steps(many) == [2, 3, 4, 5], "what is not a complete checkpoint stays"


def test_one_that_cannot_be_removed_stays_and_is_logged(
    many: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", failing)
    assert rotate(many, last=4) == []
    assert steps(many) == [1, 2, 3, 4, 5]
    assert "cannot remove the old checkpoint" in caplog.text
    assert "Permission denied" in caplog.text
