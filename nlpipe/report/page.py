"""The page of one run, from facts: scores, events, details, slices, findings, the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from nlpipe import pages
from nlpipe.details import Chart, Detail, Line, Table
from nlpipe.report.drawing import section, style, table

if TYPE_CHECKING:
    from nlpipe.checking import Finding
    from nlpipe.evaluation import Scores
    from nlpipe.slices import Slice


@dataclass(frozen=True, slots=True)
class Report:
    """What a page is made of. `rows` are numbers of rows by split, `events` as `events.jsonl` has them."""

    title: str
    subtitle: str
    scores: Scores
    split: str
    details: Sequence[Detail] = ()
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
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
    main = "".join(f'<h1 class="part" id="{_anchor(name)}">{escape(name)}</h1>{body}' for name, body in there.items())
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
        between = "–" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        trivial = [f"{values[name]:.4f}" for values in scores.baselines.values()]
        rows.append((name, f"{value:.4f}", between, *trivial, scores.signatures.get(name, "")))
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
    found = []
    for name, slices in report.slices.items():
        rows = [
            (one.name, one.n, one.score, one.difference, f"{one.low:.4f} to {one.high:.4f}", "yes" if one.sure else "")
            for one in slices
        ]
        columns = ("rows where", "rows", name, "against all", "95 % interval", "hardly chance")
        note = "The worst first; slices of fewer than 10 rows are left out."
        if rows:
            found.append(section(Table(f"{name} by slices", note, columns, tuple(rows))))
    return "".join(found)


def _data(report: Report) -> str:
    body = section(Table("Rows", "", ("split", "rows"), tuple(report.rows.items()))) if report.rows else ""
    if report.findings:
        rows = tuple((one.level, one.split, one.count or None, one.what, one.advice) for one in report.findings)
        body += section(Table("What a look at the data found", "", ("", "split", "rows", "found", "advice"), rows))
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
    for name, value in report.environment.items():
        if name != "rows":
            rows.append((name, value if isinstance(value, str | int | float) else json.dumps(value)))
    return section(Table("Resources and versions", "", ("what", "value"), tuple(rows))) if rows else ""
