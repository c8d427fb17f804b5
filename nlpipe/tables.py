"""What the command line prints on its standard output: scores, tasks, plugins and results as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from nlpipe.checking import Finding
    from nlpipe.comparing import Comparison
    from nlpipe.evaluation import Scores
    from nlpipe.exporting import Report as Exported
    from nlpipe.many import SeedsReport, SweepReport
    from nlpipe.plugin_check import Report
    from nlpipe.plugins import PluginRecord

# Scores that are not fractions and are printed as they are.
_AS_THEY_ARE = frozenset({"mcc", "spearman", "pearson", "bleu", "chrf", "chrf++", "ter", "perplexity", "brier"}) | {
    *("bits_per_character", "bits_per_byte"),
    *("best_exact_thresh", "best_f1_thresh"),
}


def scores(found: Scores, split: str) -> Table:
    """Scores in percent with their intervals, and the trivial answers beside them."""
    table = _table(f"{found.task}: {found.n:,} rows of {split}", "score", "value", "95 % interval", *found.baselines)
    for name, value in found.scores.items():
        low, high = found.intervals.get(name, (None, None))
        between = "–" if low is None or high is None else f"{_shown(name, low)} to {_shown(name, high)}"
        trivial = [_shown(name, values[name]) if name in values else "–" for values in found.baselines.values()]
        table.add_row(name, _shown(name, value), between, *trivial)
    return table


def sweep(found: SweepReport) -> Table:
    """Each trial's settings and scores, the best first within its round."""
    keys = list(found.outcomes[0].settings) if found.outcomes else []
    several = len({one.round for one in found.outcomes}) > 1
    metric, best = found.metric.name, found.best
    title = f"sweep: {len(found.outcomes)} trainings, by {metric} on validation"
    table = _table(title, "trial", *(["round"] if several else []), *keys, metric, "seconds", "")
    for one in found.ranked:
        score = "–" if one.score is None else _shown(metric, one.score)
        note = "best" if one is best else (one.error or "").partition("\n")[0]
        round_ = [str(one.round + 1)] if several else []
        values = [str(value) for value in one.settings.values()]
        table.add_row(f"{one.trial:03}", *round_, *values, score, f"{one.seconds:.0f}", note)
    return table


def seeds(found: SeedsReport) -> Table:
    """Mean and standard deviation of each score, and the scores of each seed."""
    title = f"{found.task}: {len(found.runs)} seeds, {found.split}"
    table = _table(title, "score", "mean", "standard deviation", *(f"seed {seed}" for seed in found.runs))
    deviations = found.deviation
    for name, mean in found.mean.items():
        deviation = deviations[name]
        spread = "–" if deviation is None else _shown(name, deviation)
        table.add_row(name, _shown(name, mean), spread, *(_shown(name, scores[name]) for scores in found.runs.values()))
    return table


def comparison(found: Comparison, *, several: bool = False) -> Table:
    """One system against another: what differs, how sure that is, and by which test; of `several` the adjusted p."""
    title = f"{found.other} against {found.base}: {found.task}, {found.n:,} rows"
    if max(found.runs) > 1:
        title += f"; mean ± deviation over {found.runs[1]} runs against {found.runs[0]}"
    p = "p (Holm)" if several else "p"
    table = _table(title, "score", "base", "other", "difference", "95 % interval", p, "effect", "verdict", "test")
    for one in found.differences:
        table.add_row(
            one.score,
            _mean(one.score, one.base, one.base_deviation),
            _mean(one.score, one.other, one.other_deviation),
            _shown(one.score, one.difference, sign="+"),
            f"{_shown(one.score, one.low, sign='+')} to {_shown(one.score, one.high, sign='+')}",
            f"{one.p_adjusted:.4f}" if one.p_adjusted >= 0.0001 else f"{one.p_adjusted:.1e}",
            "–" if one.effect is None else f"{one.effect:+.2f}",
            one.verdict,
            one.test,
        )
    return table


def _mean(name: str, value: float, deviation: float | None) -> str:
    return _shown(name, value) if deviation is None else f"{_shown(name, value)} ± {_shown(name, deviation)}"


def exported(found: Exported) -> Table:
    """PyTorch and the export beside each other: score, time and size."""
    small = f", {found.quantize}" if found.quantize else ""
    kept = f" ({found.in_float} of {found.layers} layers in float32)" if found.in_float else ""
    table = _table(f"{found.backend}{small}{kept}: {found.rows:,} rows", "", "torch", found.backend, "")
    if found.metric is not None and found.score is not None and found.lost is not None:
        scores = (found.score, found.score - found.lost)
        table.add_row(found.metric, *(_shown(found.metric, score) for score in scores), f"lost {found.lost:.4f}")
    table.add_row("answers", "", "", f"{found.changed:.1%} are others")
    for what, (before, after) in found.milliseconds.items():
        table.add_row(what, f"{before:.1f} ms", f"{after:.1f} ms", f"{before / after:.2f} times as fast")
    table.add_row("size", f"{found.megabytes[0]:.1f} MB", f"{found.megabytes[1]:.1f} MB", "")
    return table


def findings(found: Sequence[Finding]) -> Table:
    """What a look at the data found: counts, and what to do."""
    table = _table("", "", "split", "rows", "what", "found", "advice")
    for one in found:
        table.add_row(one.level, one.split, f"{one.count:,}" if one.count else "", one.kind, one.what, one.advice)
    return table


def shown_rows(found: Sequence[Finding]) -> Text:
    """The first rows of each finding."""
    lines = []
    for one in found:
        if one.examples:
            lines += ["", f"{one.split}, {one.kind}:", *(f"  {example}" for example in one.examples)]
            if one.count > len(one.examples):
                lines.append(f"  … and {one.count - len(one.examples):,} more (--json has the numbers of all)")
    return Text("\n".join(lines))


def plugins(records: Iterable[PluginRecord]) -> Table:
    """Every plugin found, loaded or not: where it comes from, what it brings, what it costs and what is wrong."""
    table = _table("", "plugin", "from", "tasks", "families", "ms", "state", "note")
    for record in records:
        origin = f"{record.source}\n{_near(record.folder)}" if record.folder else record.source
        table.add_row(
            record.name,
            origin,
            "\n".join(record.tasks),
            "\n".join(record.families),
            f"{1000 * record.seconds:,.0f}",
            record.state,
            "; ".join(record.notes),
        )
    return table


def plugin(record: PluginRecord, tasks: Mapping[str, Any]) -> Table:
    """All there is to know of one plugin; `tasks` are the classes of those that it brings."""
    table = _table("", "what", "found")
    facts = {
        "plugin": record.name,
        "from": record.source,
        "module": record.module,
        "folder": record.folder or "",
        "state": record.state,
        "plugin API": record.api or "not stated",
        "hooks": ", ".join(record.hooks),
        "load time": f"{1000 * record.seconds:,.0f} ms",
    }
    for key, value in facts.items():
        table.add_row(key, value)
    for name, task in tasks.items():
        table.add_row(f"task {name}", task.summary)
        for family, kinds in task.row().items():
            table.add_row("", f"{family}: {', '.join(kind.__name__ for kind in kinds)}")
    for note in record.notes:
        table.add_row("note", note)
    return table


def checked(report: Report) -> Table:
    """What became of each check: its subjects in one line where it passed, a line of its own for each that did not."""
    marks = {"passed": "✓", "failed": "✗", "skipped": "–"}
    lines: dict[tuple[str, str, str], list[str]] = {}
    for outcome in report.outcomes:
        lines.setdefault((outcome.state, outcome.check, outcome.reason), []).append(outcome.on)
    table = _table(report.plugin, "", "check", "on", "why")
    for (state, check, reason), subjects in lines.items():
        table.add_row(marks[state], check, ", ".join(filter(None, subjects)), reason)
    return table


def _near(folder: str) -> str:
    """A path as short as it can be said: from here, or from home."""
    for start, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if Path(folder).is_relative_to(start):
            return str(Path(sign) / Path(folder).relative_to(start))
    return folder


def rows(title: str, content: Iterable[Mapping[str, Any]]) -> Table:
    """Mappings with the same keys as a table."""
    found = list(content)
    table = _table(title, *(found[0] if found else ()))
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    return table


def show(item: Any) -> None:
    """Print to the standard output, as wide as the terminal; never narrower than a table can be read."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    console.print(item)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shown(name: str, value: float, *, sign: str = "") -> str:
    return f"{value:{sign}.4f}" if name in _AS_THEY_ARE else f"{100 * value:{sign}.2f} %"
