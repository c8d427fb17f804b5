"""What a service of many callers meets: one batch for all, each with its own answer, mistake and way out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nlpipe import DataError, UnsupportedError
from nlpipe.ahead import worked_ahead
from nlpipe.pipelines import Pipeline
from nlpipe.testing.rules import first_keyword
from tests.support import tiny, untrained

TEXTS = [text for text, _ in first_keyword(30, seed=4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("models"))


@pytest.fixture
def pipe(folder: Path) -> Pipeline:
    return untrained("classification", folder, ("a", "b"))


@pytest.fixture
def batches(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each pass of the model had."""
    rows: list[int] = []
    compute = pipe.runner.compute
    monkeypatch.setattr(pipe.runner, "compute", lambda how, batch: rows.append(len(batch.rows)) or compute(how, batch))
    return rows


def scores(results: Any) -> list[Any]:
    return [pytest.approx(dict(result.scores), abs=1e-6) for result in results]


def test_callers_share_a_pass_and_get_their_own_answers(pipe: Pipeline, batches: list[int]) -> None:
    async def serve() -> list[Any]:
        async with pipe.batcher(max_wait_ms=200, max_rows=len(TEXTS)) as batcher:
            return await asyncio.gather(*map(batcher, TEXTS))

    expected = pipe(TEXTS)
    at_once = list(batches)
    batches.clear()
    assert [dict(found.scores) for found in asyncio.run(serve())] == scores(expected)
    assert batches == at_once  # as few passes as one call with all texts takes
    assert len(batches) < 4


def test_a_full_batch_does_not_wait_and_a_lone_caller_waits_little(pipe: Pipeline, batches: list[int]) -> None:
    async def serve() -> None:
        async with pipe.batcher(max_wait_ms=60_000, max_rows=2) as batcher:
            await asyncio.gather(*map(batcher, TEXTS[:4]))
        async with pipe.batcher(max_wait_ms=1) as batcher:
            await asyncio.wait_for(batcher("ba"), 30)

    asyncio.run(serve())
    assert batches == [2, 2, 1]


def test_a_mistake_is_its_own_callers_alone(pipe: Pipeline) -> None:
    async def serve() -> list[Any]:
        async with pipe.batcher(max_wait_ms=50) as batcher:
            asked = [batcher("ba"), batcher(None), batcher({"txt": "a"}), batcher("ba", tempretaure=1), batcher(["ba"])]
            return await asyncio.gather(*asked, return_exceptions=True)

    good, *wrong = asyncio.run(serve())
    assert good.label in {"a", "b"}
    assert [type(error) for error in wrong] == [DataError, DataError, UnsupportedError, UnsupportedError]
    assert not any("input 1" in str(error) for error in wrong), "a number of somebody's batch means nothing to a caller"
    assert "unknown option 'tempretaure'" in str(wrong[2])
    assert "asyncio.gather" in str(wrong[3])


def test_a_caller_that_gives_up_leaves_the_batch_as_it_is(pipe: Pipeline, batches: list[int]) -> None:
    async def serve() -> list[Any]:
        async with pipe.batcher(max_wait_ms=100) as batcher:
            tasks = [asyncio.create_task(batcher(text)) for text in TEXTS[:5]]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(serve())
    assert isinstance(found[1], asyncio.CancelledError)
    kept = [0, 2, 3, 4]
    assert batches == [4], "what nobody waits for any more is not computed"
    assert [dict(found[at].scores) for at in kept] == scores(pipe([TEXTS[at] for at in kept]))


def test_a_caller_that_gives_up_while_it_is_computed(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()
    compute = pipe.runner.compute

    def slow(how: Any, batch: Any) -> Any:
        begun.set()
        go.wait(30)
        return compute(how, batch)

    async def serve() -> list[Any]:
        async with pipe.batcher(max_wait_ms=1) as batcher:
            tasks = [asyncio.create_task(batcher(text)) for text in TEXTS[:3]]
            await asyncio.to_thread(begun.wait, 30)
            tasks[0].cancel()
            go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    monkeypatch.setattr(pipe.runner, "compute", slow)
    cancelled, *others = asyncio.run(serve())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert all(other.label for other in others)


def test_closing_answers_what_came_and_takes_no_more(pipe: Pipeline) -> None:
    async def serve() -> None:
        batcher = pipe.batcher(max_wait_ms=60_000)
        with pytest.raises(UnsupportedError, match="not open"):
            await batcher("ba")
        async with batcher:
            asked = asyncio.create_task(batcher("ba"))
            await asyncio.sleep(0)
        assert (await asked).label
        with pytest.raises(UnsupportedError, match="not open"):
            await batcher("ba")
        assert pipe("ba").label, "the pipeline stays open"

    asyncio.run(serve())
    with pytest.raises(UnsupportedError, match="max_rows 1 or more"):
        pipe.batcher(max_rows=0)


def test_a_fault_reaches_every_caller(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(how: Any, batch: Any) -> Any:
        raise RuntimeError("a bug")

    async def serve() -> list[Any]:
        async with pipe.batcher(max_wait_ms=20) as batcher:
            return await asyncio.gather(*map(batcher, TEXTS[:3]), return_exceptions=True)

    monkeypatch.setattr(pipe.runner, "compute", broken)
    assert [str(error) for error in asyncio.run(serve())] == ["a bug"] * 3


def test_a_closed_pipeline_says_so(folder: Path) -> None:
    with untrained("classification", folder, ("a", "b")) as pipe:
        same = pipe.called({"windows": "max"})
        assert pipe("ba").label
    for ask in (pipe, same, pipe.embed, lambda text: list(pipe.map([text])), pipe.stream):
        with pytest.raises(UnsupportedError, match=r"closed|writes no text"):
            ask("ba")  # type: ignore[operator]
    pipe.close()


def test_many_threads_call_at_once(pipe: Pipeline) -> None:
    expected = scores(pipe(TEXTS))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: pipe(TEXTS[at:] + TEXTS[:at]), range(8)))
    for at, results in enumerate(found):
        assert [dict(result.scores) for result in results] == expected[at:] + expected[:at]


def numbers(taken: list[int], count: int) -> Iterator[int]:
    for number in range(count):
        taken.append(number)
        yield number


def doubled(chunk: Any) -> list[int]:
    if 7 in chunk:
        raise ValueError("seven")
    return [2 * number for number in chunk]


def test_work_ahead_keeps_order_looks_a_little_ahead_and_raises_in_its_turn() -> None:
    taken: list[int] = []
    results = worked_ahead(numbers(taken, 7), doubled, 2)
    assert taken == []
    assert next(results) == [0, 2]
    assert taken == [0, 1, 2, 3]
    assert list(results) == [[4, 6], [8, 10], [12]]
    failing = worked_ahead(numbers([], 20), doubled, 3)
    assert [next(failing), next(failing)] == [[0, 2, 4], [6, 8, 10]]
    with pytest.raises(ValueError, match="seven"):
        next(failing)
    assert list(worked_ahead([], doubled, 3)) == []


def test_work_ahead_ends_with_its_caller() -> None:
    def alive() -> int:
        return sum("nlpipe-ahead" in thread.name for thread in threading.enumerate())

    work: Callable[[Any], Any] = list
    results = worked_ahead(range(100), work, 3)
    next(results)
    assert alive() == 1
    results.close()  # type: ignore[attr-defined]
    assert alive() == 0
