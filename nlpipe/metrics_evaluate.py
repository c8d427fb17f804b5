"""The one door to the library `evaluate`: its metrics named in recipes, and ours as its `Metric` objects.

Importing it takes eleven seconds, so nothing does before a metric of it is named. Its own `load` runs `./NAME/NAME.py`
of the working directory if there is one: hence the prefix, and paths that say that they are paths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import UnsupportedError
from nlpipe.metrics import Metric
from nlpipe.rows import to_record

if TYPE_CHECKING:
    from nlpipe.task import Task

PREFIX = "evaluate:"


def named(name: str) -> bool:
    """Whether a name means a metric of the library: `evaluate:NAME`, or a path (with a slash in it)."""
    return name.startswith(PREFIX) or "/" in name


@dataclass(frozen=True, slots=True)
class Foreign:
    """A metric of the library before it knows the task whose answers it will see."""

    name: str
    module: Any

    def of(self, task: Task[Any, Any, Any, Any]) -> Metric:
        """As a Metric of the task's answers; each row's statistic is its place, so any resample can be computed.

        Its score is the library's first number. Raises UnsupportedError where the task's answers have no plain form.
        """
        held: dict[str, list[Any]] = {}

        def rows(results: Sequence[Any], examples: Sequence[Any]) -> Any:
            pairs = [task.plain(result, example) for result, example in zip(results, examples, strict=True)]
            first = len(held.setdefault("said", []))
            held["said"] += [said for said, _ in pairs]
            held.setdefault("right", []).extend(right for _, right in pairs)
            return np.arange(first, first + len(pairs), dtype=float).reshape(-1, 1)

        def value(places: Any) -> float:
            chosen = [int(at) for at in places.ravel()]
            said, right = ([held[side][at] for at in chosen] for side in ("said", "right"))
            return _number(self.module.compute(**_fitted(self.module, said, right)), self.name)

        version = getattr(self.module.info, "version", None)
        return Metric(self.name, f"{self.name}|evaluate|{version or self.module.experiment_id}", rows, value)


def load(name: str) -> Foreign:
    """The metric of `evaluate:NAME` (from the Hub or its cache) or of a local folder or script, whose code is run.

    Raises UnsupportedError where it cannot be loaded.
    """
    import evaluate

    target = name.removeprefix(PREFIX)
    local = Path(target).expanduser()
    if name.startswith(PREFIX) and (local.exists() or Path(f"{target}.py").exists()):
        raise UnsupportedError(f"{name}: there is a {target} in this folder, which evaluate would run; say ./{target}")
    if not name.startswith(PREFIX) and not local.exists():
        raise UnsupportedError(f"there is no metric at {target}: name a folder or a script of the library evaluate")
    try:
        module = evaluate.load(str(local) if local.exists() else target, keep_in_memory=True)
    except (OSError, ImportError, ValueError, ConnectionError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedError(f"{name} cannot be loaded ({reason}); offline, name a local copy by its path") from error
    return Foreign(name.removeprefix(PREFIX), module)


def _fitted(module: Any, said: list[Any], right: list[Any]) -> dict[str, Any]:
    """Names as numbers and single texts as lists, as the metric's declared features ask."""
    features = module.features[0] if isinstance(module.features, list) else module.features
    wanted = str(features["predictions"])
    if "int" in wanted and all(isinstance(value, str) for value in [*said, *right]):
        names = {name: at for at, name in enumerate(sorted({*said, *right}))}
        said, right = ([names[value] for value in side] for side in (said, right))
    if any(isinstance(value, list) for value in right) and not isinstance(said[0], list):
        asks_lists = "List" in str(features["references"]) or "Sequence" in str(features["references"])
        right = right if asks_lists or isinstance(module.features, list) else [value[0] for value in right]
    return {"predictions": said, "references": right}


def _number(found: Mapping[str, Any] | None, name: str) -> float:
    for value in (found or {}).values():
        if isinstance(value, int | float | np.floating):
            return float(value)
    raise UnsupportedError(f"{name} gives no number")


def as_evaluate(metric: Metric, task: Task[Any, Any, Any, Any]) -> Any:
    """A metric of ours as an `evaluate.Metric`: `compute(predictions=[…], references=[…])` with mappings.

    Predictions have the fields of the task's Result (or what `Task.told` reads), references those of its Example.
    """
    import datasets
    import evaluate

    class Ours(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> Any:
            text = datasets.Value("string")
            return evaluate.MetricInfo(
                description=metric.signature,
                citation="",
                inputs_description="Mappings: fields of the task's Result, and of its Example.",
                features=datasets.Features({"predictions": text, "references": text}),
            )

        def add_batch(self, *, predictions: Any = None, references: Any = None, **rest: Any) -> None:
            """Mappings as JSON, the one type that holds any task's fields."""
            evaluate.Metric.add_batch(  # `super()` does not survive how evaluate copies its methods
                self,
                predictions=[json.dumps(one) for one in predictions],
                references=[json.dumps(one) for one in references],
                **rest,
            )

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            examples = [to_record(json.loads(one), task.Example) for one in references]
            results = [
                task.Result.from_dict(task.told(json.loads(one), example))
                for one, example in zip(predictions, examples, strict=True)
            ]
            score = metric.score(results, examples)
            return {metric.name: score if math.isfinite(score) else float("nan")}

    return Ours(keep_in_memory=True)
