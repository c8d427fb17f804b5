"""The one door to `datasets`: data sets of the Hub, and a Dataset's columns as plain values."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nlpipe.errors import DataError

_log = logging.getLogger("nlpipe")

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def load(name: str, config: str | None, split: str, revision: str | None) -> Any:
    """A split of a Hub data set as a `datasets.Dataset`: from the local cache, else fetched.

    A cached copy serves where it is of the configuration asked for (`default` if none is) and, where
    `revision` is given, of that commit; a branch or tag is looked up on the Hub. `HF_HUB_OFFLINE` is
    obeyed. Raises DataError where the data set cannot be had; without a network that takes up to half a
    minute, as `datasets` tries five times.
    """
    import datasets

    if not _NAME.fullmatch(name):
        raise DataError(f"'{name}' is no name of a Hub data set, such as owner/name; for a file say {{path: {name}}}")
    # The prefix keeps a folder of that name in the working directory from being taken for the data set.
    given = {"path": f"hf://datasets/{name}", "name": config, "split": split, "revision": revision}
    offline = bool(datasets.config.HF_HUB_OFFLINE)
    cached = _cached({**given, "name": config or "default"})
    if cached is not None and cached.config_name == (config or "default") and _is_revision(cached, revision):
        return cached
    if not offline:
        _log.info("looking for the data set %s on the Hub", name)
    try:
        with _quiet():
            found = datasets.load_dataset(**given)
    except Exception as error:
        # Whatever stops it lies outside this program: names, networks, files of others.
        raise DataError(f"{name}: {_reason(error, offline)}; a local file works as well") from error
    if not _is_revision(found, revision, known=bool(revision and _COMMIT.fullmatch(revision))):
        raise DataError(f"{name}: the Hub is out of reach, and the cache holds another revision than {revision}")
    return found


def _cached(given: Mapping[str, Any]) -> Any:
    """What the cache has, or None. `datasets` has no such call, but offline it looks nowhere else."""
    import datasets

    try:
        with cache_alone(), _quiet():
            return datasets.load_dataset(**given)
    except Exception:
        return None


@contextmanager
def cache_alone() -> Iterator[None]:
    """Within it data sets come from the local cache or not at all, as if HF_HUB_OFFLINE said so."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that `datasets` prints whenever its cache serves, and a line for each retry."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _is_revision(dataset: Any, revision: str | None, known: bool = True) -> bool:
    """Whether the data set is of a revision, by the addresses its files came from (`…/name@commit/file`)."""
    if revision is None or not known:
        return True
    return any(f"@{revision}/" in address for address in dataset.download_checksums or {})


def _reason(error: Exception, offline: bool) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    kind = type(error).__name__
    if offline and isinstance(error, ConnectionError | FileNotFoundError):
        return "not in the local cache, and HF_HUB_OFFLINE forbids fetching it"
    if kind in {"DatasetNotFoundError", "DataFilesNotFoundError", "EmptyDatasetError"}:
        return f"the Hub has no such data set, or it is not open to you ({first})"
    if isinstance(error, ConnectionError | TimeoutError | FileNotFoundError):
        return "not in the local cache, and the Hub cannot be reached; check the network"
    return f"`datasets` cannot load it: {first} ({kind})"


def columns_of(dataset: Any) -> dict[str, list[Any]]:
    """The columns of a `datasets.Dataset` as plain Python values; class numbers become their names."""
    columns: dict[str, list[Any]] = {name: [] for name in dataset.column_names}
    for batch in dataset.with_format("arrow").iter(batch_size=1000):
        for name, cells in columns.items():
            cells.extend(batch.column(name).to_pylist())
    for name, feature in dataset.features.items():
        if to_names := _namer(feature):
            columns[name] = [to_names(cell) for cell in columns[name]]
    return columns


def _namer(feature: Any) -> Callable[[Any], Any] | None:
    """What turns a value of this feature into one with names for classes; None where it holds no classes."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        names = feature.names
        return lambda value: names[value] if value is not None and value >= 0 else None  # -1 is "no label"
    if isinstance(feature, datasets.List | datasets.LargeList):
        inner = _namer(feature.feature)
        return inner and (lambda value: value if value is None else [inner(item) for item in value])
    if isinstance(feature, dict):
        namers = {key: namer for key, item in feature.items() if (namer := _namer(item))}
        return _keyed(namers) if namers else None
    return None


def _keyed(namers: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    return lambda value: value and {k: namers[k](v) if k in namers else v for k, v in value.items()}
