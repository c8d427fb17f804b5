"""Passes side by side, and in halves where memory runs out: nothing of the answers changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

import nlpipe
from nlpipe import batching, upstream
from nlpipe.errors import UnsupportedError
from nlpipe.objectives import SequenceLabel
from nlpipe.runners import accelerators, writing
from nlpipe.runners.lanes import Gate, Lanes, in_lane
from nlpipe.runners.torch import TorchRunner
from nlpipe.testing.tiny import tiny_model

from .threads import torch_threads

TEXTS = [f"The {'small quick ' * (number % 7)}fox number {number}." for number in range(60)]


@pytest.fixture
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("bert", tmp_path_factory.mktemp("tiny") / "bert")


@pytest.mark.usefixtures("two_threads")
def test_lanes_answer_as_one_after_the_other(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "SMALLEST", 16)
    pipe = nlpipe.pipeline("similarity", model=model, device="cpu")
    seen: list[tuple[bool, int]] = []
    compute = TorchRunner.compute

    def noted(self: TorchRunner, objective: Any, batch: Any) -> Any:
        seen.append((in_lane(), torch.get_num_threads()))
        return compute(self, objective, batch)

    monkeypatch.setattr(TorchRunner, "compute", noted)
    together = pipe.embed(TEXTS)
    assert len(seen) > 4
    assert set(seen) == {(True, 1)}
    seen.clear()
    for text, vector in zip(TEXTS, together, strict=True):
        assert pipe.embed(text)[0] == pytest.approx(vector, abs=1e-5)
    assert set(seen) == {(False, 2)}
    pipe.close()
    with pytest.raises(UnsupportedError, match="closed"):
        pipe.embed(TEXTS)


def test_who_writes_compute_says_whether_threads_may_share_it() -> None:
    """A stranger's may hang a hook into the model for each pass."""

    class Renamed(SequenceLabel):
        pass

    class Hooked(SequenceLabel):
        def compute(self, model: Any, batch: Any) -> Any:
            return super().compute(model, batch)

    class Careful(Hooked):
        reentrant = True

    found = [kind(labels=("a", "b")).side_by_side for kind in (SequenceLabel, Renamed, Hooked, Careful)]
    assert found == [True, True, False, True]


@pytest.mark.usefixtures("two_threads")
def test_a_compute_that_is_not_shared(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "SMALLEST", 16)
    with nlpipe.pipeline("similarity", model=model, device="cpu") as pipe:
        lanes: list[bool] = []

        class Hooked(type(pipe.objective)):  # type: ignore[misc]
            def compute(self, network: Any, batch: Any) -> Any:
                lanes.append(in_lane())
                return super().compute(network, batch)

        pipe.objective = Hooked(**{one.name: getattr(pipe.objective, one.name) for one in fields(pipe.objective)})
        pipe.embed(TEXTS)
        assert set(lanes) == {False}


@pytest.mark.usefixtures("two_threads")
def test_other_threads_keep_their_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.set_num_threads` says what threads that begin later take as well."""
    lanes = Lanes()
    assert list(lanes.map(lambda _: torch.get_num_threads(), range(8))) == [1] * 8
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 2
    names = set(lanes.map(lambda _: (time.sleep(0.01), threading.current_thread().name)[1], range(8)))
    assert len(names) == 2
    assert list(lanes.map(lambda _: lanes.count, range(2))) == [1, 1]
    pool = lanes._pool
    monkeypatch.setattr("os.getpid", lambda: -1)  # a process that was copied has none of its threads
    assert list(lanes.map(lambda _: torch.get_num_threads(), range(8))) == [1] * 8
    assert lanes._pool is not pool
    lanes.close()


def test_an_error_in_a_lane_is_the_callers() -> None:
    lanes = Lanes()

    def work(part: int) -> float:
        return 1 / part

    found = lanes.map(work, [1, 0, 2])
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
    lanes.close()


def test_the_gate() -> None:
    """Lanes are inside together, a caller alone; who waits to be alone is not kept out by ever more lanes."""
    gate, both, order = Gate(), threading.Barrier(2, timeout=5), []

    def lane() -> None:
        with gate.together():
            both.wait()
            time.sleep(0.05)
            order.append("lane")

    def alone() -> None:
        with gate.alone():
            order.append("begins")
            time.sleep(0.05)
            order.append("ends")

    def late() -> None:
        with gate.together():
            order.append("late")

    threads = []
    for work in (lane, lane, alone, late):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        if work is not lane or len(threads) == 2:
            time.sleep(0.02)
    for thread in threads:
        thread.join(5)
    assert order == ["lane", "lane", "begins", "ends", "late"]


def test_who_is_interrupted_at_the_gate_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gate._change, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt), gate.alone():
            pass
    passed = threading.Thread(target=lambda: gate.together().__enter__(), daemon=True)
    passed.start()
    passed.join(5)
    assert not passed.is_alive()


def test_models_that_change_while_they_compute(model: Path, tmp_path: Path) -> None:
    import transformers

    plain = transformers.AutoModel.from_pretrained(model)
    assert upstream.reentrant(plain)
    plain.encoder.register_forward_hook(lambda *_: None)
    assert not upstream.reentrant(plain)
    sparse = transformers.BigBirdConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, vocab_size=20)
    assert not upstream.reentrant(transformers.BigBirdModel(sparse))
    kind = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    llama = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 20}
    config = transformers.LlamaConfig(**llama, intermediate_size=16)
    assert upstream.reentrant(transformers.LlamaModel(config))
    config = transformers.LlamaConfig(**llama, intermediate_size=16, rope_parameters=kind)
    assert not upstream.reentrant(transformers.LlamaModel(config))


@pytest.mark.parametrize("said", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_what_does_not_fit_is_computed_in_halves(model: Path, said: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = nlpipe.pipeline("similarity", model=model, device="cpu")
    expected, most, compute = pipe.embed(TEXTS), 3, TorchRunner.compute

    def small(self: TorchRunner, objective: Any, batch: Any) -> Any:
        if len(batch.rows) > most:
            raise said
        return compute(self, objective, batch)

    monkeypatch.setattr(TorchRunner, "compute", small)
    assert pipe.embed(TEXTS) == pytest.approx(expected, abs=1e-5)
    most = 0
    with pytest.raises(UnsupportedError, match=r"memory ran out over one row of \d+ tokens: take a smaller dtype"):
        pipe.embed(TEXTS)


def test_what_a_gpu_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """More memory takes more tokens, a wider layer fewer; prompts that are gone on from are many."""
    cpu, single = torch.device("cpu"), torch.float32
    found = {}
    for size in (8, 80):
        monkeypatch.setattr(accelerators, "memory", lambda device, size=size: size * 2**30)
        for width in (4 * 1536, 4 * 50_000):
            found[size, width] = accelerators.passes(cpu, width, 384, single, writing=False).tokens
    assert found == {(8, 6144): 8738, (80, 6144): 65536, (8, 200_000): 512, (80, 200_000): 2684}
    assert accelerators.passes(cpu, 4 * 50_000, 384, single, writing=True).tokens == 65536
    assert writing._bounds(torch.device("cuda")) == (accelerators.ROWS, 10 * 2**30)
    assert writing._bounds(cpu) == (writing.ROWS, writing.CACHE)


def test_what_beginning_costs_in_tokens() -> None:
    """The same for the same machine, and less where a token costs more."""
    cpu = torch.device("cpu")
    narrow, wide = (accelerators.begin_tokens(cpu, hidden, torch.float32) for hidden in (64, 1024))
    assert narrow.bit_count() == 1
    assert narrow > wide >= 1
