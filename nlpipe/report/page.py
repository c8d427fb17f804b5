"""The page of one run, from facts: scores, events, details, slices, findings, the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from nlpipe import pages
from nlpipe.details import Cell, Chart, Detail, Interval, Intervals, Line, Table
from nlpipe.report.drawing import between, section, style, table

if TYPE_CHECKING:
    from nlpipe.checking import Finding
    from nlpipe.evaluation import Scores
    from nlpipe.slices import Slice, Slices


DRAWN = 30  # slices that are drawn beside their table


@dataclass(frozen=True, slots=True)
class Report:
    """What a page is made of. `summary` is of the data, `events` are as `events.jsonl` has them, `used` of memory."""

    title: str
    subtitle: str
    scores: Scores
    split: str
    details: Sequence[Detail] = ()
    slices: Slices | None = None
    findings: Sequence[Finding] = ()
    summary: Sequence[Detail] = ()
    events: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""


def render(report: Report) -> str:
    """The whole page."""
    parts = {
        "Scores": _scores(report),
        "Training": "".join(section(detail) for detail in _training(report.events)),
        "What it gets wrong": "".join(section(detail) for detail in report.details),
        "Slices": _slices(report),
        "Data": _data(report),
        "Resources": _resources(report),
        "Recipe": f"<section><pre>{escape(report.recipe)}</pre></section>" if report.recipe else "",
    }
    there = {name: body for name, body in parts.items() if body}
    nav = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in there)
    main = "".join(
        f'<h1 class="part" id="{_anchor(name)}">{escape(name)}</h1><div class="group">{body}</div>'
        for name, body in there.items()
    )
    return pages.page(
        report.title,
        style=style(),
        header=f'<h1>{escape(report.title)}</h1><p class="quiet">{escape(report.subtitle)}</p><nav>{nav}</nav>',
        main=f"<main>{main}</main>",
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _scores(report: Report) -> str:
    scores = report.scores
    head = ("score", "value", "95 % interval", *scores.baselines, "signature")
    rows = []
    for name, value in scores.scores.items():
        low, high = scores.intervals.get(name, (None, None))
        trivial = [f"{values[name]:.4f}" if name in values else "–" for values in scores.baselines.values()]
        rows.append((name, f"{value:.4f}", between(low, high), *trivial, scores.signatures.get(name, "")))
    note = f"On {scores.n:,} rows of {escape(report.split)}."
    if scores.intervals:
        note += " Intervals are 95 % percentile bootstraps over rows."
    if scores.baselines:
        note += f" Trivial answers, which a model has to beat: {escape(', '.join(scores.baselines))}."
    return f'<section><p class="note">{note}</p>{table(head, rows)}</section>'


def _training(events: Sequence[Mapping[str, Any]]) -> Iterable[Detail]:
    """Loss and learning rate by step, and the scores of the validation rows."""
    steps = [event for event in events if event["event"] == "StepDone"]
    if not steps:
        return
    thin = steps[:: max(1, len(steps) // 400)]
    loss = Line("loss", tuple((event["step"], event["loss"]) for event in thin))
    yield Chart("Loss", "Of each step, on the training rows.", "step", "loss", (loss,))
    rate = Line("rate", tuple((event["step"], event["learning_rate"]) for event in thin))
    yield Chart("Learning rate", "", "step", "rate", (rate,))
    looks = [event for event in events if event["event"] == "Evaluated"]
    if len(looks) > 1:
        lines = tuple(
            Line(name, tuple((look["step"], look["scores"][name]) for look in looks)) for name in looks[0]["scores"]
        )
        best = [look["step"] for look in looks if look["best"]][-1:]
        note = f"The weights of step {best[0]} were kept." if best else ""
        yield Chart("Scores on the validation rows", note, "step", "score", lines, marked_x=best[0] if best else None)


def _slices(report: Report) -> str:
    slices = report.slices
    if slices is None or not slices.looks:
        return ""
    if slices.found:
        note = (
            f"Of {slices.looks:,} slices looked at (those below, two of them at once, and rows with a word) these are "
            "worse than as many rows drawn by chance, at 5 % for all looks together."
        )
    else:
        note = f"Of {slices.looks:,} slices looked at none is worse than as many rows drawn by chance would be."
    columns = _SLICED if slices.found else ()
    body = section(Table(f"The worst slices by {slices.score}", note, columns, _listed(slices.found)))
    if not slices.named:
        return body
    title = f"{slices.score} by slices"
    note = "The worst first; slices of fewer than 10 rows are left out. “Hardly chance” allows for all that stand here."
    body += section(Table(title, note, _SLICED, _listed(slices.named)))
    drawn = tuple(Interval(one.name, one.score, one.low, one.high, one.sure) for one in slices.named[:DRAWN])
    whole = report.scores.scores[slices.score]
    return body + section(
        Intervals(title, f"The line is the score of all rows, {whole:.4g}.", slices.score, drawn, whole)
    )


_SLICED = ("rows where", "rows", "score", "against all", "95 % interval", "hardly chance")


def _listed(slices: Sequence[Slice]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            one.name,
            one.n,
            one.score,
            f"{one.difference:+.4g}",
            between(one.low, one.high),
            "yes" if one.sure else "",
        )
        for one in slices
    )


def _data(report: Report) -> str:
    body = "".join(section(detail) for detail in report.summary)
    if notes := [event for event in report.events if event["event"] == "RowsNoted"]:
        rows = tuple((n["split"], n["count"] or None, n["what"], ", ".join(map(str, n["rows"]))) for n in notes)
        note = "They are used, but not as they came, or left out. Numbers are of the first rows, in their file."
        body += section(Table("Rows to know of", note, ("split", "rows", "what", "numbers"), rows))
    if report.findings:
        found = tuple((one.level, one.split, one.count or None, one.what, one.advice) for one in report.findings)
        body += section(Table("What a look at the data found", "", ("", "split", "rows", "found", "advice"), found))
    return body


def _resources(report: Report) -> str:
    steps = [event for event in report.events if event["event"] == "StepDone"]
    rows: list[tuple[str, Any]] = []
    if steps:
        seconds = sum(event["seconds"] for event in steps)
        rows += [
            ("training steps", len(steps)),
            ("seconds in steps", round(seconds, 1)),
            ("tokens per second", round(sum(event["tokens"] for event in steps) / max(seconds, 1e-9))),
        ]
    started = [event for event in report.events if event["event"] == "RunStarted"]
    if started:
        rows += [
            ("weights", started[-1]["parameters"]),
            ("of these trained", started[-1]["trainable"]),
            ("padding", f"{100 * started[-1]['padding']:.1f} % of the tokens"),
        ]
    rows += report.used.items()
    for name, value in report.environment.items():
        if name == "versions":
            rows += value.items()
        elif name != "rows":
            rows.append((name, value if isinstance(value, str | int | float) else json.dumps(value)))
    return section(Table("Resources and versions", "", ("what", "value"), tuple(rows))) if rows else ""
