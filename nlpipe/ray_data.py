"""The one door to Ray: the rows of `nlpipe predict` answered by models on several machines, in their order.

One task reads the source on the machine that was called, actors with a model each answer blocks of its rows, and the
caller writes what comes back. Rows and answers travel as JSON, which keeps every number.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from nlpipe.errors import DataError, Problem, UnsupportedError
from nlpipe.intake import STREAM, Bad, Intake, Item, Source
from nlpipe.parsers import Row
from nlpipe.predicting import Answers, Asking, Chosen, Engine

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1024
"""Rows that one actor answers at a time: enough to find rows of like length among them."""

Batch = dict[str, "np.ndarray[Any, Any]"]


def engine(found: Chosen, workers: int) -> Engine:
    """What answers with `workers` models, each loaded by an actor as `found` says.

    Raises UnsupportedError where Ray is not installed.
    """
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise UnsupportedError("--engine ray needs Ray, which is not installed: pip install 'nlpipe[ray]'")

    def answers(asking: Asking, intake: Intake, skip: int) -> Answers:
        if intake.source.name == STREAM:
            raise DataError("--engine ray reads a file by its name, not standard input")
        return _answers(found, workers, asking, intake, skip)

    return answers


def _answers(found: Chosen, workers: int, asking: Asking, intake: Intake, skip: int) -> Answers:
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        rows = ray.data.read_datasource(
            _datasource(intake.source, skip),
            override_num_blocks=1,
            ray_remote_args={"scheduling_strategy": here, "num_cpus": 0},
        )
        answered = rows.map_batches(
            _Answering,
            fn_constructor_args=(found, dict(asking.columns), dict(asking.options)),
            batch_size=BLOCK,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for batch in answered.iter_batches(batch_size=BLOCK, batch_format="numpy", prefetch_batches=1):
            yield from _told(batch, intake)
    finally:
        if started:
            ray.shutdown()


def _told(batch: Batch, intake: Intake) -> Answers:
    """What came back. A source that broke off says so in its last row."""
    for item, answer in zip(batch["item"].tolist(), batch["answer"].tolist(), strict=True):
        kind, *content = json.loads(item)
        if kind == "broken":
            intake.broken = DataError(*content)
            return
        intake.read += 1
        yield _item(kind, content), _answer(json.loads(answer))


def _answer(found: Any) -> dict[str, Any] | DataError:
    if "wrong" in found:
        return DataError(found["wrong"], [Problem(*one) for one in found["problems"]])
    fields: dict[str, Any] = found["fields"]
    return fields


def _item(kind: str, content: list[Any]) -> Item:
    return Row(*content) if kind == "row" else Bad(*content)


def _content(item: Item) -> str:
    """A row as it travels. What JSON has no word for (a date of Parquet) travels as its text."""
    if isinstance(item, Row):
        return json.dumps(["row", item.number, item.line, item.cells], default=str)
    return json.dumps(["bad", item.number, item.line, item.reason])


def _datasource(source: Source, skip: int) -> Any:
    """The rows behind the first few, read by one task, block by block."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class Rows(Datasource):  # type: ignore[misc]  # the extra's are Any to mypy
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(
            self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
        ) -> list[Any]:
            return [ReadTask(lambda: _blocks(source, skip), BlockMetadata(None, None, None, None))]

    return Rows()


def _blocks(source: Source, skip: int) -> Iterator[Any]:
    import pyarrow as pa

    intake = Intake(source)

    def contents() -> Iterator[str]:
        try:
            yield from map(_content, intake.skip(skip))
        except DataError as error:
            yield json.dumps(["broken", str(error)])
            return
        if intake.broken is not None:
            yield json.dumps(["broken", str(intake.broken)])

    waiting = contents()
    while block := list(islice(waiting, BLOCK)):
        yield pa.table({"item": pa.array(block, pa.large_string())})


class _Answering:
    """An actor's model."""

    def __init__(self, found: Chosen, columns: dict[str, str], options: dict[str, Any]) -> None:
        self.asking = Asking(found.open(), columns, options)

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """The answers to a block, each as JSON."""
        import numpy as np

        contents = batch["item"].tolist()
        return {"item": batch["item"], "answer": np.array(list(self._answers(contents)), dtype=object)}

    def _answers(self, contents: Iterable[str]) -> Iterator[str]:
        read = [json.loads(content) for content in contents]
        items = [Bad(0, None, "") if kind == "broken" else _item(kind, rest) for kind, *rest in read]
        results = self.asking.pipe.map(map(self.asking.given, items), errors="return", **self.asking.options)
        for item, result in zip(items, results, strict=True):
            if isinstance(result, DataError):
                error = self.asking.wrong(item, result)
                yield json.dumps(
                    {"wrong": error.message, "problems": [[p.where, p.key, p.message] for p in error.problems]}
                )
            else:
                yield json.dumps({"fields": result.to_dict()})
