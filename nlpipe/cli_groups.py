"""The commands in groups: `nlpipe recipe …`, `nlpipe data …`, `nlpipe plugin …`. As in `cli.py`, nothing heavy is
imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nlpipe.cli_parts import ERRORS, Columns, Json, Offline, Quiet, Set, known_plugins, named_pairs, say

recipe_app = typer.Typer(help="Write, check and show recipes.", no_args_is_help=True)
plugin_app = typer.Typer(help="See, write and test plugins.", no_args_is_help=True)
data_app = typer.Typer(help="Look at data before learning from them.", no_args_is_help=True)


@recipe_app.command("new")
def recipe_new(task: Annotated[str, typer.Argument(help="One of `nlpipe tasks`.")]) -> None:
    """Print a commented recipe for a task, to be saved and filled in."""
    from nlpipe.recipe import template

    typer.echo(template(known_plugins().task(task)), nl=False)


@recipe_app.command("check")
def recipe_check(recipe: Annotated[str, typer.Argument(help="The recipe's file.")], changes: Set = None) -> None:
    """Say whether a recipe is right, with all its problems at once."""
    from nlpipe.recipe import read

    read(recipe, known_plugins().tasks, changes or [])
    say(f"{recipe} is right")


@recipe_app.command("show")
def recipe_show(recipe: Annotated[str, typer.Argument(help="The recipe's file.")], changes: Set = None) -> None:
    """Print a recipe with its parents, changes and defaults filled in."""
    from nlpipe.recipe import dump, read

    typer.echo(dump(read(recipe, known_plugins().tasks, changes or [])), nl=False)


@recipe_app.command("schema")
def recipe_schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from nlpipe.recipe import schema

    typer.echo(json.dumps(schema(known_plugins().tasks), indent=2))


@data_app.command("check")
def data_check(
    sources: Annotated[
        list[str], typer.Argument(metavar="RECIPE|FILE...", help="A recipe; or training, validation and test files.")
    ],
    task: Annotated[str | None, typer.Option("--task", help="The task, where files are named.")] = None,
    columns: Columns = None,
    changes: Set = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 2 where anything is worse than a note.")
    ] = False,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Look for leaks, conflicting golds, misplaced spans, odd characters and the like."""
    from nlpipe import tables
    from nlpipe.data_check import check_named, refuse

    pairs = named_pairs(columns, "--columns")
    found = check_named(sources, task, known_plugins(), columns=pairs, changes=changes, offline=offline)
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in found], ensure_ascii=False))
    else:
        tables.show(tables.findings(found))
        tables.show(tables.shown_rows(found))
    if strict:
        refuse([one for one in found if one.level != "note"])


@plugin_app.command("list")
def plugin_list(as_json: Json = False) -> None:
    """Every plugin found: what it brings and costs, and what is wrong."""
    from nlpipe import tables

    records = known_plugins().records
    if as_json:
        typer.echo(json.dumps([record.to_dict() for record in records]))
    else:
        tables.show(tables.plugins(records))


@plugin_app.command("info")
def plugin_info(
    name: Annotated[str, typer.Argument(help="A plugin's name, as `plugin list` has it.")], as_json: Json = False
) -> None:
    """All there is to know of one plugin."""
    from nlpipe import tables
    from nlpipe.errors import PluginError, suggest

    plugins = known_plugins()
    records = {record.name: record for record in plugins.records}
    if name not in records:
        raise PluginError(f"no plugin is called {name!r}; {suggest(name, records)}")
    record = records[name]
    if as_json:
        typer.echo(json.dumps(record.to_dict()))
    else:
        tables.show(
            tables.plugin(record, {task: plugins.tasks[task] for task in record.tasks if task in plugins.tasks})
        )


@plugin_app.command("new")
def plugin_new(
    name: Annotated[str, typer.Argument(help="What the plugin and its task are called, such as keyphrases.")],
    objective: Annotated[bool, typer.Option("--objective", help="A new way of asking a model, and a task.")] = False,
    dataset: Annotated[bool, typer.Option("--dataset", help="A reader of data that nlpipe does not know.")] = False,
    listener: Annotated[bool, typer.Option("--listener", help="Something that sees what happens in runs.")] = False,
    path: Annotated[str | None, typer.Option("--path", metavar="FOLDER", help="Where to; ./NAME by default.")] = None,
) -> None:
    """Write a complete package for a new plugin.

    A task with its tests and a recipe, or one of the other kinds.
    """
    from nlpipe import scaffold
    from nlpipe.errors import PluginError

    asked = {"objective": objective, "dataset": dataset, "listener": listener}
    kinds = [kind for kind, wanted in asked.items() if wanted]
    if len(kinds) > 1:
        raise PluginError(f"--{kinds[0]} or --{kinds[1]}: a new plugin is of one kind; more can be added to it later")
    folder = Path(path or name).expanduser()
    kind: Any = kinds[0] if kinds else "task"
    for file in scaffold.write(name, kind, folder, known_plugins()):
        typer.echo(file)
    say(f"\ncd {folder} && pip install -e '.[test]' && pytest\nnlpipe plugin check {folder}")


@plugin_app.command("check")
def plugin_check(
    what: Annotated[str, typer.Argument(metavar="[PATH|NAME]", help="A plugin's folder, or an installed one.")] = ".",
    everything: Annotated[bool, typer.Option("--all", help="What is marked slow as well.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Test a plugin, and show each check.

    In a folder with its own tests, where it is installed with nlpipe's kit on its samples. Exit code 1 if anything
    fails.
    """
    from nlpipe import tables
    from nlpipe.plugin_check import check

    with ERRORS.status("looking for it") as status:
        status.stop() if quiet else status.start()
        report = check(what, known_plugins(), everything=everything, watch=lambda now: status.update(f"checking {now}"))
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        tables.show(tables.checked(report))
        count = sum(outcome.state == "failed" for outcome in report.outcomes)
        say(
            f"{count} of {len(report.outcomes)} checks failed"
            if count
            else f"{len(report.outcomes)} checks: all is well"
        )
    if not report.passed:
        raise typer.Exit(1)
