"""Checks of a task without a model: what its rows, golds, scores and options mean."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from nlpipe.errors import NlpipeError
from nlpipe.metrics import Metric
from nlpipe.objectives.base import Query
from nlpipe.plugins import HEAVY
from nlpipe.recipe import TaskSection, build, schema
from nlpipe.rows import to_record
from nlpipe.testing.cases import Check, CheckFailed, fail, require
from nlpipe.testing.comparing import short
from nlpipe.testing.perfect import over, perfect_results
from nlpipe.testing.subjects import AnyTask, Rows, TaskSubject, configured, rows_of

_IMPORT = """
import sys
{paths}
before = set(sys.modules)
import {module}
print(*sorted({heavy!r} & (set(sys.modules) - before)))
"""

EXACT = 1e-6  # what a score may be beside the best one and still be it: rounding in sums


def light_import(module: str) -> None:
    """Raise CheckFailed where importing `module` in a fresh interpreter loads a library that costs seconds."""
    code = _IMPORT.format(paths=f"sys.path[:0] = {sys.path!r}", module=module, heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"`import {module}` fails by itself:\n{done.stderr.strip()[-1500:]}")
    loaded = done.stdout.split()
    require(not loaded, f"`import {module}` imports {', '.join(loaded)}, for which every start of nlpipe would wait")


def imports_lightly(subject: TaskSubject) -> None:
    """Import the task's module by itself."""
    light_import(subject.task.__module__)


def samples_are_valid(subject: TaskSubject) -> None:
    """Every sample is an Example that comes back from a row of data, and can be asked and learnt."""
    task, samples = subject.task, subject.task.samples()
    missing = sorted(set(task.Input.model_fields) - set(task.Example.model_fields))
    require(not missing, f"{task.Example.__name__} lacks {', '.join(missing)} of {task.Input.__name__}")
    require(len(samples) >= 2, f"samples() gives {len(samples)} examples; give two or more")
    for number, (sample, row) in enumerate(zip(samples, rows_of(samples), strict=True)):
        given = type(sample)
        require(given is task.Example, f"sample {number} is a {given.__name__}, not {task.Example.__name__}")
        try:
            again = to_record(row, task.Example)
        except NlpipeError as error:
            raise CheckFailed(f"sample {number} is refused when it comes from a file: {error}") from error
        require(
            again == sample, f"sample {number} comes back from a row of data as {short(again)}, was {short(sample)}"
        )
    own = subject.recipe.get("task", {})
    rows = Rows(configured(task, own, samples), samples, samples)
    for turned in (configured(task, own, [*samples[at:], *samples[:at]]) for at in range(1, len(samples))):
        require(
            rows.task.labels == turned.labels,
            f"labels_in() depends on the order of the rows: {rows.task.labels}, and {turned.labels} of others first",
        )
    for _, kind in subject.kinds():
        _can_be_asked(rows, kind)


def _can_be_asked(rows: Rows, kind: Any) -> None:
    task, examples = rows.task, rows.examples
    objective = task.objective(kind)
    require(type(objective) is kind, f"objective({kind.__name__}) gives a {type(objective).__name__}")
    for number, example in enumerate(examples):
        try:
            query = task.query(task.given(example), objective)
            task.gold(example, objective)
        except NlpipeError as error:
            raise CheckFailed(f"sample {number} cannot be asked as {kind.__name__}: {error}") from error
        require(isinstance(query, Query), f"query() gives a {type(query).__name__} for sample {number}, not a Query")
        _hides_the_gold(task, example, examples[number - 1], query, objective)


def _hides_the_gold(task: AnyTask, example: Any, other: Any, query: Query, objective: Any) -> None:
    """The query is the same for an example whose gold fields another's have replaced."""
    gold = {n: getattr(other, n) for n in task.Example.model_fields if n not in task.Input.model_fields}
    changed = example.model_copy(update=gold)
    require(
        task.query(task.given(changed), objective) == query,
        f"query() depends on the right answer: it changes with {', '.join(gold)}, of {short(example)}",
    )


def recipes_know_its_options(subject: TaskSubject) -> None:
    """The options merge into a recipe's schema, survive a Card's JSON, and an unknown one is refused by name."""
    task = subject.task
    clash = sorted(set(task.Options.model_fields) & set(TaskSection.model_fields))
    require(
        not clash, f"the option {', '.join(clash)} would stand where a recipe's own `task: {clash and clash[0]}:` does"
    )
    whole = schema({task.name: task})
    json.dumps(whole)
    found = whole["properties"]["task"]["oneOf"][-1]["properties"]
    missing = sorted(set(task.Options.model_fields) - set(found))
    require(not missing, f"the recipe's schema lacks the option {', '.join(missing)}")
    options = subject.samples.task.options
    try:
        again = task.Options.model_validate(json.loads(json.dumps(options.model_dump(mode="json"))))
    except (ValidationError, TypeError, ValueError) as error:
        raise CheckFailed(f"the options do not survive a Card: {error}") from error
    require(again == options, f"the options come back from a Card as {short(again)}, were {short(options)}")
    try:
        build({**_least(subject), "task": {"name": task.name, "nonesuch": 1}}, {task.name: task})
    except NlpipeError as error:
        require("nonesuch" in str(error), f"an unknown option is refused without its name: {error}")
    else:
        fail(f"{task.Options.__name__} takes the unknown option 'nonesuch' and ignores it; derive it from TaskOptions")


def _least(subject: TaskSubject) -> dict[str, Any]:
    rows = rows_of(subject.task.samples())
    return {"model": {"backbone": "x"}, "data": {"train": rows}, "train": {}, "output": {"dir": "x"}}


def perfect_answers_score_best(subject: TaskSubject) -> None:
    """Who knows the gold gets the best value of every metric on the samples, and of the rule's on its rows."""
    for family, kind in subject.kinds():
        for metric, rows in _scored(subject):
            score = metric.score(perfect_results(subject, kind, rows), rows.examples)
            require(
                abs(score - metric.perfect) <= EXACT,
                f"{metric.name} is {score:.6g} where every answer of {kind.__name__} ({family}) is right; the best "
                f"value is said to be {metric.perfect:g}",
            )


def _scored(subject: TaskSubject) -> Iterator[tuple[Metric, Rows]]:
    yield from ((metric, subject.samples) for metric in subject.task.metrics)
    if subject.rule is not None:
        yield subject.rule.metric(subject.task), subject.rows


def scores_depend_on_rows_alone(subject: TaskSubject) -> None:
    """Each metric has its own name, a row of statistics per example, and a number for any set of rows."""
    import numpy as np

    names = [metric.name for metric in subject.task.metrics]
    require(len(set(names)) == len(names), f"two metrics share a name among {', '.join(names)}")
    examples = subject.rows.examples
    for answers, results in _answers(subject):
        for metric in subject.task.metrics:
            rows = np.asarray(metric.rows(results, examples), dtype=float)
            shape = f"{metric.name}.rows gives an array {rows.shape} for {len(examples)} examples"
            require(rows.ndim == 2 and len(rows) == len(examples), f"{shape}; it must be [examples, statistics]")
            whole = float(metric.value(rows))
            draw = np.random.default_rng(0)
            for what, other in {
                "the same rows in another order": rows[::-1],
                "all rows twice": rows.repeat(2, 0),
            }.items():
                moved = float(metric.value(other))
                require(
                    abs(moved - whole) <= EXACT or math.isnan(whole),
                    f"{metric.name} of {answers} is {whole:.6g}, and {moved:.6g} of {what}",
                )
            for size in (1, 2, len(rows)):
                value = metric.value(rows[draw.integers(0, len(rows), size)])
                require(isinstance(value, float), f"{metric.name} of {size} rows is {value!r}, not a float")


def _answers(subject: TaskSubject) -> Iterator[tuple[str, Sequence[Any]]]:
    """Sets of results for the subject's examples, right and trivial, with what they are."""
    kind = next(kind for _, kind in subject.kinds())
    yield "perfect answers", perfect_results(subject, kind, subject.rows)
    yield from ((f"the baseline '{name}'", found) for name, found in _baselines(subject).items())


def _baselines(subject: TaskSubject) -> dict[str, Sequence[Any]]:
    rows = subject.rows
    _, kind = next(subject.kinds())
    task = over(rows.task, rows.task.objective(kind), rows.examples)
    return dict(task.baselines(rows.train, rows.examples))


def baselines_are_worse_than_perfect(subject: TaskSubject) -> None:
    """There is a trivial answer to beat, a Result for each row, and it does not get the best score."""
    task, examples = subject.task, subject.rows.examples
    metric = subject.rule.metric(task) if subject.rule else task.metrics[0]
    found = _baselines(subject)
    require(found, "baselines() gives no trivial answer, so that nobody can tell what a score is worth")
    for name, results in found.items():
        require(len(results) == len(examples), f"'{name}' answers {len(results)} of {len(examples)} rows")
        odd = next((type(r).__name__ for r in results if not isinstance(r, task.Result)), None)
        require(odd is None, f"'{name}' answers with a {odd}, not {task.Result.__name__}")
        score = metric.score(results, examples)
        require(metric.better(metric.perfect, score), f"'{name}' gets the best {metric.name} there is, {score:g}")


CHECKS = (
    Check(
        "imports_lightly",
        "Importing the plugin loads nothing that costs seconds: every start of nlpipe imports it.",
        "imports at the top of the plugin's modules; move those of torch, transformers, pandas and scikit-learn into "
        "the functions that need them.",
        imports_lightly,
        on="alone",
    ),
    Check(
        "samples_are_valid",
        "samples() gives Examples that come back from a file, and can be asked and learnt.",
        "samples(), the fields of Input and Example, query() and gold().",
        samples_are_valid,
        on="alone",
    ),
    Check(
        "recipes_know_its_options",
        "The options are part of a recipe's schema, survive a Card's JSON, and an unknown one is refused.",
        "the fields of Options: plain values with descriptions, of a subclass of TaskOptions.",
        recipes_know_its_options,
        on="alone",
    ),
    Check(
        "perfect_answers_score_best",
        "Who knows the right answers gets the best score of every metric.",
        "gold() and result() (the order of the labels, the borders of offsets), and the metrics: rows(), value() and "
        "`perfect`.",
        perfect_answers_score_best,
        on="alone",
    ),
    Check(
        "scores_depend_on_rows_alone",
        "A metric gives a number for any set of rows, whatever their order, and under one name.",
        "the metrics' rows() (a row per example) and value() (a function of these rows and nothing else).",
        scores_depend_on_rows_alone,
        on="alone",
    ),
    Check(
        "baselines_are_worse_than_perfect",
        "There are trivial answers to beat, and they do not get the best score.",
        "baselines(): a list of Results for each name, learnt from the training rows alone.",
        baselines_are_worse_than_perfect,
        on="alone",
    ),
)
