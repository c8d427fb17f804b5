"""`nlpipe data check`: a recipe's data, or a single file, looked at. Nothing is trained and no weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe import backbone, checking, locating, upstream
from nlpipe.checking import Finding, Measure
from nlpipe.errors import DataError, NlpipeError, Problem
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe, check, read

if TYPE_CHECKING:
    from nlpipe.checking import AnyTask
    from nlpipe.data import Split

log = logging.getLogger("nlpipe")


def check_recipe(recipe: Recipe, plugins: Plugins, *, offline: bool = False) -> list[Finding]:
    """What is to be said of a recipe's data; lengths are in the backbone's own tokens where it can be reached."""
    task, section = plugins.task(recipe.task.name), recipe.data
    return checking.check(
        task,
        check(recipe, plugins.tasks),
        {"train": section.train, "validation": section.validation, "test": section.test},
        section.columns,
        labels=recipe.task.labels,
        measure=_measure(recipe, offline=offline),
        seed=recipe.train.seed if recipe.train else 13,
        hook=plugins.dataset,
    )


def before_training(recipe: Recipe, task: AnyTask, splits: Mapping[str, Split], options: Any) -> None:
    """What `data.check` asks for: what is found in a moment in the log, or all checks, none of which may warn.

    Raises DataError under `strict`.
    """
    if recipe.data.check == "warn":
        for one in checking.quick(task, splits):
            log.warning("%s: %s. `nlpipe data check` says more", one.split, one.what)
    elif recipe.data.check == "strict":
        found = checking.look(task, options, splits, labels=recipe.task.labels)
        refuse([one for one in found if one.level != "note"])


def refuse(findings: Sequence[Finding]) -> None:
    """Raise DataError for the findings, if there are any."""
    if findings:
        raise DataError(
            "the data have problems; mend them, or take the rows out",
            [Problem(one.split, one.kind, one.what) for one in findings],
        )


def check_files(
    files: Mapping[str, str], task: str, plugins: Plugins, columns: Mapping[str, str] | None = None
) -> list[Finding]:
    """What is to be said of labelled files, split name → path, without a recipe."""
    kind = plugins.task(task)
    return checking.check(kind, kind.Options(), files, columns, hook=plugins.dataset)


def check_named(
    sources: list[str],
    task: str | None,
    plugins: Plugins,
    *,
    columns: Mapping[str, str] | None = None,
    changes: list[str] | None = None,
    offline: bool = False,
) -> list[Finding]:
    """What the command line was given: one recipe, or files of a task, the first of which is the training set.

    Raises DataError where it is neither.
    """
    if len(sources) == 1 and Path(sources[0]).suffix in {".yaml", ".yml"}:
        if task or columns:
            raise DataError(f"{sources[0]} is a recipe, which says its task and columns itself; leave the options out")
        return check_recipe(read(sources[0], plugins.tasks, changes or []), plugins, offline=offline)
    if task is None:
        raise DataError(f"{sources[0]} is no recipe (.yaml): say which task its rows are of, --task NAME")
    if changes:
        raise DataError("--set changes a recipe, and this is none")
    names = ("train", "validation", "test")
    if len(sources) > len(names):
        raise DataError(f"at most three files: {', '.join(names)}; there are {len(sources)}")
    return check_files(dict(zip(names, sources, strict=False)), task, plugins, columns)


def _measure(recipe: Recipe, *, offline: bool) -> Measure | None:
    """Tokens of a text, and those that one pass has room for; None where the backbone is new or cannot be reached."""
    if recipe.model.backbone is None:
        return None
    try:
        location = locating.locate(recipe.model.backbone, revision=recipe.model.revision, offline=offline)
        config = upstream.read_config(location.folder)
        tok: Any = backbone.tokenizers(location, config)
    except NlpipeError as error:
        log.warning("lengths are in words: %s", error)
        return None
    given = recipe.model.max_length
    limit = backbone.limit_of(config, tok.source) if given == "auto" else given
    return (lambda text: len(tok.source.encode(text).ids)), limit - tok.source.single.special
