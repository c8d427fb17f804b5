"""What the commands share: how options are said, and where messages go. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from nlpipe.errors import DataError

ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network; Hub names come from the cache.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the error stream.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="OURS=THEIRS", help="What the file calls a field of the task."),
]
Backend = Annotated[
    str,
    typer.Option("--backend", help="auto (the model's newest export, else torch), torch, onnx, openvino, ctranslate2."),
]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[
    str, typer.Option("--dtype", help="auto (float32), float32, bfloat16 or float16; docs/python.md says when.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Processor threads; by default one a core.")]
TaskName = Annotated[str | None, typer.Option("--task", help="The task, where the model does not say it.")]
Model = Annotated[str, typer.Argument(help="A model folder, a Hub name, or package:NAME/PATH.")]


@dataclass
class Chosen:
    """What was said of plugins before the command's name."""

    blocked: Sequence[str] = ()
    strict: bool = False


CHOSEN = Chosen()  # typer hands it to no command


def known_plugins() -> Any:
    """The plugins, but for those that were to be left out."""
    from nlpipe.plugins import Plugins

    return Plugins.discover(blocked=CHOSEN.blocked, strict=CHOSEN.strict)


def named_options(given: list[str] | None) -> dict[str, Any]:
    """Options by name, each value as YAML has it: 4, true, [time, place]."""
    pairs = named_pairs(given, "--option", "KEY=VALUE, such as num_beams=4 or labels=[time, place]")
    if not pairs:
        return {}
    from nlpipe.recipe_yaml import parse

    found = {}
    for name, text in pairs.items():
        read = parse(text, f"--option {name}", {}, 0)
        if read.faults:
            raise DataError(f"--option {name}={text}: {next(iter(read.faults.values()))[1]}")
        found[name] = read.value
    return found


def named_pairs(given: list[str] | None, option: str, form: str = "OURS=THEIRS, such as text=review") -> dict[str, str]:
    """What was said as KEY=VALUE."""
    pairs = [item.partition("=") for item in given or []]
    odd = ["".join(pair) for pair in pairs if not all(pair)]
    if odd:
        raise DataError(f"{option} {odd[0]}: say {form}")
    return {ours: theirs for ours, _, theirs in pairs}


def say(text: str) -> None:
    """A line on the error stream, where results do not go."""
    ERRORS.print(text, markup=False)
