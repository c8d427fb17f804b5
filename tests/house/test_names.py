"""The core knows no task by name."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from nlpipe.plugins import Plugins

from .source import CORE, modules

# compat names the tasks of transformers 4, and the test kit makes data for ours.
EXEMPT = {"compat", "testing"}

# Words that the design gives to the core as well: the recipe's section `generation:`, transformers' GenerationConfig,
# and the field of a result that says how alike texts are.
SHARED = {"generation", "similarity"}

# Not comments: they are no behaviour, and some explain themselves by a task.
READ = {tokenize.NAME, tokenize.STRING, *(getattr(tokenize, name, -1) for name in ("FSTRING_MIDDLE",))}


def words(path: Path) -> Iterator[tuple[int, str]]:
    """The identifiers of a file and the words in its texts, docstrings included, with their lines."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in READ:
                for offset, line in enumerate(token.string.splitlines()):
                    yield from ((token.start[0] + offset, word) for word in re.findall(r"\w+", line))


def test_the_core_knows_no_task_by_name() -> None:
    tasks = set(Plugins.discover().tasks)
    assert tasks, "no task is installed, so there is nothing to look for"
    wrong = [
        f"{module.at(line)} names the task '{word}'"
        for module in modules(CORE)
        if module.path.relative_to(CORE).parts[0] not in EXEMPT
        for line, word in words(module.path)
        if word in tasks - SHARED
    ]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_words(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""Such as\n`ner`."""\nqa = f"the {qa} task"  # summarization\nner_tags = "not qa_tags"\n')
    assert [(line, word) for line, word in words(path) if word in {"ner", "qa", "summarization"}] == [
        (2, "ner"),
        (3, "qa"),
        (3, "qa"),
    ]
