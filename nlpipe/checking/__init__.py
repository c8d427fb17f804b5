"""A look at labelled rows before anything is learnt from them: what `nlpipe data check` prints.

Knows no task by name: a task says what its fields and golds are, what is wrong with a gold, and what is to be noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from nlpipe import beir, data
from nlpipe.checking import balance, duplicates, texts
from nlpipe.checking.findings import SHOWN, Finding, Level, rows
from nlpipe.checking.summary import summary
from nlpipe.checking.views import View, views
from nlpipe.errors import DataError
from nlpipe.task import Note

if TYPE_CHECKING:
    from nlpipe.data import DatasetHook, Split
    from nlpipe.task import Task

__all__ = ["Finding", "Level", "Measure", "check", "look", "quick", "summary"]

AnyTask = type["Task[Any, Any, Any, Any]"]

Measure = tuple[Callable[[str], int], int]
"""How many tokens a text has, and how many one pass reads."""

_ORDER = {"error": 0, "warning": 1, "note": 2}


def check(
    task: AnyTask,
    options: Any,
    sources: Mapping[str, Any],
    columns: Mapping[str, str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    measure: Measure | None = None,
    seed: int = 13,
    hook: DatasetHook | None = None,
) -> list[Finding]:
    """All that there is to say of the splits in `sources` (as `data:` has them), the worst first.

    `measure` counts tokens where a tokenizer is known. Raises DataError where a source cannot be read at all.
    """
    findings: list[Finding] = []
    splits = _read(task, sources, columns or {}, seed, hook, findings)
    return look(task, options, splits, labels=labels, measure=measure, found=findings)


def look(
    task: AnyTask,
    options: Any,
    splits: Mapping[str, Split],
    *,
    labels: Sequence[str] | None = None,
    measure: Measure | None = None,
    found: Sequence[Finding] = (),
) -> list[Finding]:
    """All checks over splits that have been read; `found` are findings made while reading."""
    findings = [*found, *_golds(task, options, splits, labels)]
    seen = {name: views(task, split.examples, split.rows) for name, split in splits.items()}
    sketches = {name: duplicates.Sketches(name, rows_) for name, rows_ in seen.items() if rows_}
    for name, sketch in sketches.items():
        findings += [*_one(name, seen[name], measure, free=_free(task)), *duplicates.near(sketch, sketch)]
    for one, two in combinations(sketches, 2):
        findings += duplicates.between((one, seen[one]), (two, seen[two]), free=_free(task))
        findings += duplicates.near(sketches[one], sketches[two])
    return sorted(findings, key=lambda one: _ORDER[one.level])


def quick(task: AnyTask, splits: Mapping[str, Split]) -> list[Finding]:
    """What is found in a moment, as before every training: leaks, conflicts and empty inputs."""
    seen = {name: views(task, split.examples, split.rows) for name, split in splits.items()}
    findings: list[Finding] = []
    for name, rows_ in seen.items():
        findings += [*duplicates.within(name, rows_, free=_free(task)), *texts.empty(name, rows_)]
    for pair in combinations(seen.items(), 2):
        findings += duplicates.between(*pair, free=_free(task))
    return [one for one in findings if one.level == "warning"]


def _one(name: str, seen: Sequence[View], measure: Measure | None, *, free: bool) -> Iterator[Finding]:
    yield from texts.empty(name, seen)
    yield from duplicates.within(name, seen, free=free)
    yield from balance.labels(name, seen)
    yield from texts.odd(name, seen)
    yield from texts.scripts(name, seen)
    yield from texts.mixed_languages(name, seen)
    count, limit = measure or (None, 0)
    yield from balance.lengths(name, seen, count and (lambda view: count(view.text)), limit)


def _read(
    task: AnyTask,
    sources: Mapping[str, Any],
    columns: Mapping[str, str],
    seed: int,
    hook: DatasetHook | None,
    findings: list[Finding],
) -> dict[str, Split]:
    """The splits, each without the rows that do not fit, which become findings."""
    splits: dict[str, Split] = {}
    shares = {name: source for name, source in sources.items() if isinstance(source, int | float)}
    for name, source in sources.items():
        if source is None or name in shares or beir.of(source, name) is not None:
            continue
        splits[name], bad = data.sift(source, task.Example, columns, split=name, hook=hook, own=task.formats)
        findings += _unfit(name, {number: _told(error) for number, error in bad.items()}, "not fitting the task")
    if not findings:  # nothing to leave out: shares are drawn as a run draws them, collections read whole
        return data.load_splits(
            sources,
            task.Example,
            columns,
            item=task.Item,
            seed=seed,
            stratify=task.stratum,
            hook=hook,
            own=task.formats,
        )
    return splits


def _told(error: DataError) -> str:
    return "; ".join(f"{problem.key} {problem.message}".strip() for problem in error.problems) or error.message


def _unfit(split: str, bad: Mapping[int, str], what: str) -> Iterator[Finding]:
    if bad:
        shown = tuple(f"row {number}: {message}" for number, message in list(bad.items())[:SHOWN])
        yield Finding(
            "error", "unusable rows", split, len(bad), f"{rows(len(bad))} {what}", "correct them or leave them out",
            shown, tuple(bad),
        )  # fmt: skip


def _golds(task: AnyTask, options: Any, splits: Mapping[str, Split], labels: Sequence[str] | None) -> Iterator[Finding]:
    """Golds that cannot be learnt, by the first objective of the task's row, and the task's own notes."""
    known = next((splits[name] for name in ("train", *splits) if name in splits and splits[name].examples), None)
    if known is None:
        return
    try:
        options = task.options_in(known.examples, options)
        of = task(labels or task.labels_in(known.examples, options), options)
        objective = of.objective(next(iter(task.row().values()))[0])
    except DataError as error:
        yield Finding("error", "labels", known.name, 0, str(error))
        return
    for name, split in splits.items():
        bad = {}
        for number, example in zip(split.rows, split.examples, strict=True):
            try:
                of.gold(example, objective)
            except DataError as error:
                bad[number] = str(error)
        yield from _unfit(name, bad, "whose gold cannot be learnt or scored")
        for note in task.notes(split.examples, options):
            at = {split.rows[place]: what for place, what in note.at.items()} if isinstance(note, Note) else {}
            shown = tuple(f"row {number}: {what}" for number, what in list(at.items())[:SHOWN])
            yield Finding("warning", "gold", name, len(at), str(note), "", shown, tuple(at))


def _free(task: AnyTask) -> bool:
    """Whether an answer is a text of one's own, of which several may be right."""
    return all(kind.writes for kinds in task.row().values() for kind in kinds)
