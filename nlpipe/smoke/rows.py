"""The few rows of a smoke run: some of the recipe's own where they are here, else the task's samples.

Knows sources and tasks, no model. Never touches the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlpipe import beir, data, hub, preparing
from nlpipe.data import Split
from nlpipe.errors import DataError
from nlpipe.plugins import Plugins
from nlpipe.recipe import FileSource, HubSource, Recipe, check

TRAIN, SCORED = 16, 8
"""How many rows are learnt from and scored; a step takes eight at most."""

SPLITS = ("train", "validation", "test")


def missing(recipe: Recipe, plugins: Plugins) -> str | None:
    """The first source of the recipe's rows that is not here, as a user knows it; None where all are."""
    for name in SPLITS:
        source = getattr(recipe.data, name)
        if source is not None and not _is_here(source, name, plugins):
            return _called(source, name)
    return None


def _is_here(source: Any, split: str, plugins: Plugins) -> bool:
    if isinstance(source, HubSource):
        try:
            with hub.cache_alone():
                hub.load(source.hub, source.config, source.split or split, source.revision)
        except DataError:
            return False
        return True
    if (collection := beir.of(source, split)) is not None:
        return all(Path(file).exists() for file in collection.values())
    path = source.path if isinstance(source, FileSource) else source
    if not isinstance(path, str | os.PathLike):
        return True  # a share of another split, or a table from Python
    return Path(path).exists() or plugins.dataset(source=str(path)) is not None


def _called(source: Any, split: str) -> str:
    if isinstance(source, HubSource):
        return f"the data set {source.hub}"
    if (collection := beir.of(source, split)) is not None:
        return next(file for file in collection.values() if not Path(file).exists())
    return str(source.path if isinstance(source, FileSource) else source)


def own(recipe: Recipe, plugins: Plugins, seed: int, folder: Path) -> dict[str, Any]:
    """The recipe's `data`, `task.options` and `task.labels` with a few of its rows, all of which are read and checked.

    What a task reads off its training rows (labels, scales) is read off all of them and fixed, so that the few make
    the model that all would make. Raises DataError for rows that cannot be used.
    """
    kind, section = plugins.task(recipe.task.name), recipe.data
    options: Any = check(recipe, plugins.tasks)
    with hub.cache_alone():
        splits = data.load_splits(
            {name: getattr(section, name) for name in SPLITS},
            kind.Example,
            section.columns,
            item=kind.Item,
            seed=seed,
            stratify=kind.stratum,
            hook=plugins.dataset,
            own=kind.formats,
        )
    labels: Sequence[str] = recipe.task.labels or ()
    if recipe.train is not None:
        options = preparing.options(kind, options, splits["train"])
        labels = preparing.labels(kind, options, recipe.task.labels, splits["train"])
    few = {name: _few(split, TRAIN if name == "train" else SCORED, folder / name) for name, split in splits.items()}
    return {
        "data": {**few, "columns": section.columns},
        "options": options.model_dump(exclude_defaults=True),
        "labels": labels or None,
    }


def _few(split: Split, count: int, folder: Path) -> Any:
    """Rows spread evenly over the split, in the form in which they came."""
    chosen = np.linspace(0, len(split.examples) - 1, min(count, len(split.examples))).astype(int)
    return _collection(split, chosen, folder) if split.items else split.frame.iloc[chosen]


def _collection(split: Split, chosen: Any, folder: Path) -> dict[str, str]:
    """A few queries with their documents and some others, as files in the form in which they came."""
    queries = [split.examples[at].model_dump() for at in chosen]
    wanted = {key for query in queries for key in query["relevant"]}
    documents = [item.model_dump() for item in split.items]
    few = [item for at, item in enumerate(documents) if at < TRAIN or item["id"] in wanted]
    return beir.write(folder, queries, few)


def samples(recipe: Recipe, examples: Sequence[Any]) -> dict[str, Any]:
    """The recipe's `data` with these examples, repeated, in place of every split that it names."""
    rows = [example.model_dump(mode="json", exclude_unset=True) for example in examples]

    def repeated(count: int) -> list[Mapping[str, Any]]:
        return [rows[at % len(rows)] for at in range(count)]

    return {
        name: repeated(TRAIN if name == "train" else len(rows))
        for name in SPLITS
        if getattr(recipe.data, name) is not None
    }


def usable(examples: Sequence[Any], fits: Callable[[Any], None]) -> list[Any]:
    """Those of the examples that `fits` accepts; raises what it raised of the first where it accepts none."""
    found, errors = [], []
    for example in examples:
        try:
            fits(example)
        except DataError as error:
            errors.append(error)
        else:
            found.append(example)
    if not found:
        raise errors[0]
    return found
