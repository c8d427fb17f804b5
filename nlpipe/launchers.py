"""Whether another program started this one with several processes in mind, and did not give them.

`accelerate launch --cpu --num_processes 2` starts one process and says nothing (accelerate 1.15: on a processor its
simple launcher takes over). Reads the parent's command line, loads nothing heavy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["forgotten", "wanted_processes"]


def forgotten(environ: Mapping[str, str]) -> str | None:
    """What to tell a user whose `accelerate launch` started one process in place of several; None otherwise."""
    if int(environ.get("WORLD_SIZE", "1")) > 1:
        return None
    wanted = wanted_processes(_parents_words(), environ)
    if wanted <= 1:
        return None
    return (
        f"accelerate launch was asked for {wanted} processes and started one, as it does on a processor. For {wanted} "
        f"use `nlpipe run … --processes {wanted}`, or `torchrun --nproc-per-node {wanted} -m nlpipe run …`"
    )


def wanted_processes(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """How many processes an `accelerate launch` command line asks for, by option or in its config file; else 1."""
    begins = [at for at, word in enumerate(words) if at and _is_launch(words[at - 1], word)]
    if not begins:
        return 1
    own = list(words[begins[0] + 1 :])
    options = {name: _value(own, name) for name in ("num_processes", "config_file")}
    if options["num_processes"]:
        return int(options["num_processes"]) if options["num_processes"].isdigit() else 1
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")  # noqa: PTH118
    default = Path(home).expanduser() / "accelerate" / "default_config.yaml"
    file = Path(options["config_file"]) if options["config_file"] else default
    try:
        found = re.search(r"^num_processes:\s*(\d+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return 1
    return int(found[1]) if found else 1


def _is_launch(before: str, word: str) -> bool:
    """Whether `word` begins the launch: `accelerate launch`, its old name, or the module itself."""
    names = (Path(before).name, Path(word).name)
    return names == ("accelerate", "launch") or names[1] in ("accelerate-launch", "accelerate.commands.launch")


def _value(words: Sequence[str], name: str) -> str:
    """The value of `--name V` or `--name=V`, hyphens as well as underscores, before the program's own words."""
    for at, word in enumerate(words):
        key, equals, value = word.lstrip("-").partition("=")
        if word.startswith("--") and key.replace("-", "_") == name:
            return value if equals else (words[at + 1] if at + 1 < len(words) else "")
        if word in ("-m", "--module"):
            break
    return ""


def _parents_words() -> list[str]:
    """The command line of the process that started this one; empty where the system does not show it."""
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
