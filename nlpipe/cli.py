"""The command line: one small function per command, each calling one function of the library.

Nothing heavy is imported here; a command imports what it needs when it runs.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.logging import RichHandler
from rich.text import Text

from nlpipe import cli_groups, cli_parts
from nlpipe.cli_parts import (
    ERRORS,
    Backend,
    Columns,
    Device,
    Dtype,
    Json,
    Model,
    Offline,
    Quiet,
    Set,
    TaskName,
    Threads,
    known_plugins,
    named_options,
    named_pairs,
    say,
)
from nlpipe.errors import DataError, NlpipeError, RecipeError, UnsupportedError
from nlpipe.starting import uncollected

app = typer.Typer(
    name="nlpipe",
    help="Fine-tune, measure and serve language models of any family from declarative recipes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_groups.recipe_app, name="recipe")
app.add_typer(cli_groups.data_app, name="data")
app.add_typer(cli_groups.plugin_app, name="plugin")


class _Lines(RichHandler):
    """A message a line, so that each can be searched for in a log file."""

    def render(self, *, record: logging.LogRecord, traceback: object, message_renderable: object) -> Text:
        """The level and the message, whatever the width."""
        return Text.assemble(self.get_level_text(record), str(message_renderable))


def main() -> None:
    """Run the command line. A user's mistake ends with one message and exit code 2, a bug with its traceback."""
    # Before torch is loaded: threads that wait for each other sleep instead of spinning. Beside other work on two
    # cores, a training step of MiniLM took 0.3 to 0.5 s with it and 3 to 10 s without.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "WORLD_SIZE" in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns where every weight took part after all
        logging.disable(logging.NOTSET if _first() else logging.WARNING)
    logging.basicConfig(format="%(message)s", handlers=[_Lines(console=ERRORS)])
    try:
        app(standalone_mode=True)
    except NlpipeError as error:
        _end(error)
    except KeyboardInterrupt as error:
        ERRORS.print(f"interrupted; {error}" if str(error) else "interrupted", markup=False)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as `head` does; nothing is wrong
        sys.exit(0)
    except Exception as error:
        _blame(error)
        raise


def _show(report: Any, *, as_json: bool) -> None:
    """What a run, a sweep or several seeds gave, on the standard output."""
    from nlpipe import many, tables

    content = report.scores if hasattr(report, "scores") else report
    if content is None:
        return
    if as_json:
        typer.echo(json.dumps(content.to_dict()))
    elif isinstance(report, many.SweepReport):
        tables.show(tables.sweep(report))
    elif isinstance(report, many.SeedsReport):
        tables.show(tables.seeds(report))
    else:
        tables.show(tables.scores(report.scores, report.split or ""))


def _end(error: NlpipeError) -> NoReturn:
    """Print a user's mistake; what one process has to say of another is left to the parent that sees both."""
    from nlpipe.launching import LAUNCHED, LOST

    if type(error).__name__ == "LostError" and LAUNCHED in os.environ:
        sys.exit(LOST)
    ERRORS.print(f"error: {error}" if _first() else f"error in process {os.environ['RANK']}: {error}", markup=False)
    sys.exit(2)


def _first() -> bool:
    """Whether this is the first process of its run, which alone prints."""
    return os.environ.get("RANK", "0") == "0"


def _launch(processes: int) -> None:
    """Where it is to be several and nobody has started them, run this very command in all, and end as the first."""
    from nlpipe.launchers import forgotten
    from nlpipe.launching import launch

    if "WORLD_SIZE" in os.environ:
        return
    if processes > 1:
        raise typer.Exit(launch([sys.executable, "-m", "nlpipe", *sys.argv[1:]], processes))
    if found := forgotten(os.environ):
        say(f"warning: {found}")


def _blame(error: Exception) -> None:
    """Say under a bug's traceback which plugin it is in, if it is in one."""
    from nlpipe.plugin_calls import culprit

    if found := culprit(error):
        error.add_note(f"This is a bug in {found}; --no-plugin leaves a plugin out.")


def _version(wanted: bool) -> None:
    if wanted:
        from nlpipe import __version__

        typer.echo(f"nlpipe {__version__}")
        raise typer.Exit


@app.callback()
def options(
    no_plugin: Annotated[
        list[str] | None, typer.Option("--no-plugin", metavar="NAME", help="Leave a plugin out.")
    ] = None,
    strict_plugins: Annotated[bool, typer.Option("--strict-plugins", help="Stop at a plugin that fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command hold for all commands."""
    cli_parts.CHOSEN.blocked, cli_parts.CHOSEN.strict = no_plugin or (), strict_plugins


@app.command("run")
def run_command(
    recipe: Annotated[str, typer.Argument(help="The recipe's file, or the name of a shipped one.")],
    changes: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try every stage in seconds: a tiny random model, a few rows, no network.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Train in so many processes of this machine, one a GPU.")
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Do what a recipe says: fine-tune and measure.

    A recipe without `train:` measures an untouched model.
    """
    from nlpipe.recipe import read

    if smoke and (resume or processes):
        raise RecipeError("--smoke starts afresh each time, and in one process: leave --resume and --processes out")
    plugins = known_plugins()
    parsed = read(recipe, plugins.tasks, changes or [])
    if not smoke:
        _launch(processes or parsed.run.processes)
    quiet = quiet or not _first()
    if not quiet:
        say("loading the libraries …")
    with uncollected():
        from nlpipe import many, running
        from nlpipe.progress import Watch

    watch = Watch(ERRORS)
    listeners = () if quiet else (watch,)
    report: Any
    try:
        if smoke:
            from nlpipe.smoke import run as try_out

            report = try_out(parsed, plugins=plugins, listeners=listeners)
        else:
            do = many.sweep if parsed.sweep else many.seeds if parsed.seeds else running.run
            report = do(parsed, resume=resume, offline=offline, plugins=plugins, listeners=listeners)
    except KeyboardInterrupt:
        report = None
    finally:
        watch.close()
    if report is None or not report.finished:
        say("interrupted" if smoke else f"interrupted; go on with: nlpipe run {recipe} --resume (and the same --set)")
        raise typer.Exit(130)
    if _first():
        _show(report, as_json=as_json)
    if smoke:
        say(f"every stage ran, in {report.seconds:.0f} s; the scores mean nothing. Written to {report.directory}")
    elif not quiet and (model := getattr(report, "model", None)):
        say(f'model: {model}   in Python: nlpipe.load("{model}")')


@app.command()
def evaluate(
    model: Annotated[str | None, typer.Argument(help="A model folder, a Hub name, or package:NAME/PATH.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="FILE", help="Labelled rows; also right answers alone, several files of them."),
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option("--predictions", metavar="FILE", help="Score these answers, made elsewhere, and no model."),
    ] = None,
    task: TaskName = None,
    columns: Columns = None,
    data_format: Annotated[str | None, typer.Option(help="The rows' format, where the name does not tell.")] = None,
    predictions_format: Annotated[
        str | None, typer.Option(help="The answers' format, where the name does not tell.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="With --predictions: one of the task's.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME", help="A further score; docs/evaluation.md has them.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the intervals; 0: none.")] = 1000,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Keep scores and answers here, for `nlpipe compare`.")
    ] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Score a model, or answers made elsewhere, on labelled rows."""
    from nlpipe import tables

    if (model is None) == (not predictions):
        raise DataError("say what to score: a model, or --predictions FILE with --task NAME")
    first, further = (data[0], data[1:]) if data else (None, [])
    source = None if first is None else {"path": first, "format": data_format}
    ours = named_pairs(columns, "--columns")
    if not predictions:
        if first is None or further:
            raise DataError("--data FILE: a model is scored on one file of labelled rows")
        lost = [name for name, given in (("option", option), ("predictions-format", predictions_format)) if given]
        if lost:
            raise DataError(f"--{lost[0]} goes with --predictions; a model has what it was trained with")
        from nlpipe.predicting import Chosen
        from nlpipe.running import evaluate_model

        chosen = Chosen(str(model), task, backend=backend, offline=offline, device=device, dtype=dtype, threads=threads)
        with uncollected():
            pipe = chosen.open(known_plugins())
        scores = evaluate_model(pipe, source, ours, metrics=metric or (), bootstrap=bootstrap, output=output)
    else:
        if task is None:
            raise DataError("--predictions needs --task NAME, one of `nlpipe tasks`")
        computed = {"backend": backend != "auto", "device": device != "auto", "dtype": dtype != "auto"}
        if lost := [name for name, said in {**computed, "threads": threads is not None}.items() if said]:
            raise DataError(f"--{lost[0]} goes with a model; answers made elsewhere are only scored")
        from nlpipe.recipe_yaml import typed
        from nlpipe.running import evaluate_predictions

        given = named_pairs(option, "--option", "KEY=VALUE, such as top_k=1")
        scores = evaluate_predictions(
            task,
            predictions,
            source,
            ours,
            format=predictions_format,
            further=further,
            options={key: typed(value) for key, value in given.items()},
            metrics=metric or (),
            bootstrap=bootstrap,
            output=output,
            plugins=known_plugins(),
        )
    if as_json:
        typer.echo(json.dumps(scores.to_dict()))
    else:
        tables.show(tables.scores(scores, Path(first or (predictions or [])[0]).name))


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASE OTHER...", help="Folders that `run` (also with several seeds) or `evaluate --output` wrote."
        ),
    ],
    resamples: Annotated[int, typer.Option(min=100, help="Resamples behind intervals and p-values.")] = 1000,
    test: Annotated[
        str, typer.Option(help="Of single runs: bootstrap, randomisation, or auto, which takes McNemar where it can.")
    ] = "auto",
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one page to look at.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether runs really differ, on the same rows."""
    from nlpipe import comparing, evaluation, measured, reporting, tables

    tested = comparing.chosen(test)
    if len(runs) < 2:
        raise UnsupportedError("one run alone cannot be compared: name two folders or more, the base first")
    base, *others = [measured.read_group(path) for path in runs]
    kind = known_plugins().task(base.first.task)
    names = base.first.signatures
    metrics = {name: metric for name in names if (metric := evaluation.metric(kind, name)) is not None}
    found = comparing.compare(base, others, metrics, resamples=resamples, test=tested)
    if html:
        say(f"written: {reporting.comparison(html, found)}")
    if as_json:
        typer.echo(json.dumps([comparison.to_dict() for comparison in found]))
    elif not html:
        for comparison in found:
            tables.show(tables.comparison(comparison, several=len(found) > 1))


@app.command()
def predict(
    model: Model,
    source: Annotated[str, typer.Option("--input", metavar="FILE|-", help="csv, tsv, json, jsonl, parquet, txt …")],
    target: Annotated[str, typer.Option("--output", metavar="FILE|-", help="jsonl, csv, tsv, parquet …")] = "-",
    task: TaskName = None,
    objective: Annotated[
        str | None,
        typer.Option("--objective", help="With --task: how the model is asked, where there are several ways."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="Of the task, or of generation: num_beams=4."),
    ] = None,
    long: Annotated[
        str | None, typer.Option("--long", metavar="window|truncate|error", help="What becomes of a too long text.")
    ] = None,
    columns: Columns = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="FILE", help="The documents, for a task that ranks some."),
    ] = None,
    input_format: Annotated[str | None, typer.Option(help="The input's format, where its name does not tell.")] = None,
    output_format: Annotated[
        str | None, typer.Option(help="The output's format, where its name does not tell.")
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option("--errors", metavar="raise|FILE", help="Where bad rows go; by default OUTPUT.errors.jsonl."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an output that was left unfinished.")] = False,
    engine: Annotated[str, typer.Option("--engine", metavar="local|ray", help="Where the model computes.")] = "local",
    workers: Annotated[int, typer.Option("--workers", min=1, help="With --engine ray: how many models.")] = 1,
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Answer every row of a file; input columns are kept. `-` is standard input or output.

    Beside the formats named, those of the task's own are read and written (conll, squad). A row that cannot be
    answered goes to a file of errors, and the rest goes on.
    """
    from nlpipe import predicting
    from nlpipe.engines import engine as engine_of
    from nlpipe.progress import Rows

    pairs = named_pairs(columns, "--columns")
    given = named_options(option)
    if source != "-":
        from nlpipe.readers import check_file

        check_file(source)
    plugins = known_plugins()
    found, calls = predicting.chosen(
        model, task, given, plugins, objective=objective, long=long, backend=backend, offline=offline
    )
    found = replace(found, device=device, dtype=dtype, threads=threads)
    how = engine_of(engine, found, workers)
    with uncollected():
        pipe = found.open(plugins)
    watch = None if quiet else Rows(ERRORS)
    try:
        done = predicting.predict(
            pipe,
            source,
            target,
            columns=pairs,
            source_format=input_format,
            target_format=output_format,
            options=calls,
            errors=errors,
            resume=resume,
            model=model,
            collection=collection,
            engine=how,
            watch=watch,
        )
    finally:
        if watch is not None:
            watch.close()
    if not quiet:
        cut = f"; {done.truncated:,} were longer than the model reads and cut, as asked" if done.truncated else ""
        say(f"{done.rows:,} rows answered{cut}")
    if done.bad:
        say(f"warning: {done.bad:,} row{'s' * (done.bad > 1)} could not be answered; {done.errors} says why")


@app.command()
def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", metavar="BACKEND", help="onnx, openvino or ctranslate2.")],
    quantize: Annotated[
        str | None, typer.Option(metavar="int8", help="Keep layers in 8 bits, calibrated on the rows of --data.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="FILE", help="Rows to verify it on, labelled if you have labels.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="A new folder; without, the model's own.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="What share of the score (without labels: of answers) may be lost.")
    ] = 0.01,
    task: TaskName = None,
    columns: Columns = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a model in a faster back end's form, once it answers as PyTorch does.

    `nlpipe.load`, `predict` and `evaluate` then take that form by themselves, without PyTorch.
    """
    from nlpipe import tables
    from nlpipe.exporting import export as write

    with ERRORS.status("loading the libraries") as status:
        status.stop() if quiet else status.start()
        report = write(
            model,
            to,
            quantize=quantize,  # type: ignore[arg-type]  # it says itself what there is
            data=data,
            columns=named_pairs(columns, "--columns"),
            output=output,
            task=task,
            max_loss=max_loss,
            offline=offline,
            plugins=known_plugins(),
            watch=status.update,
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
        return
    tables.show(tables.exported(report))
    if not quiet:
        say(f'written to {report.folder}   in Python: nlpipe.load("{output or model}")')


@app.command()
def tasks(
    grid: Annotated[bool, typer.Option("--grid", help="Which families and objectives, with test evidence.")] = False,
    as_json: Json = False,
) -> None:
    """The installed tasks."""
    from nlpipe import tables
    from nlpipe.grid import grid as cells

    plugins = known_plugins()
    listed: list[dict[str, Any]]
    if grid:
        listed = [
            {"task": name, **{str(family): str(cell) for family, cell in row.items()}}
            for name, row in cells(plugins.tasks).items()
        ]
    else:
        listed = [
            {"task": name, "what it does": task.summary, "plugin": plugins.origin(name).source}
            for name, task in sorted(plugins.tasks.items())
        ]
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
    else:
        tables.show(tables.rows("", listed))
        if not grid:
            say("nlpipe recipe new TASK writes a recipe to start from")


@app.command()
def inspect(
    what: Annotated[str, typer.Argument(help="tokens, embeddings, positions, attention, next, objective or why.")],
    model: Model,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What the model reads; some views take two.")],
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write one page to look at.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the view: docs/inspect.md.")
    ] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Show what a model sees in a text."""
    from nlpipe.inspect import command
    from nlpipe.inspect.terminal import drawing

    view, first = command.run(what, model, texts, changes or [], offline=offline)
    if html:
        say(f"written: {command.save(view, html, first=first)}")
    if as_json:
        typer.echo(view.to_json())
    elif not html:
        drawing.show(command.render(view, first=first))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices and plugins, for a bug report."""
    from nlpipe import tables
    from nlpipe.doctor import examine

    found = examine(known_plugins())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        tables.show(tables.rows("", ({"what": key, "found": value} for key, value in found.items())))


if __name__ == "__main__":
    main()
