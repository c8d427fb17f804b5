"""The table of docs/adapters.md, from what passed. `python -m tests.adapter_table` puts it into the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from nlpipe.adapter_methods import METHODS, OUT
from nlpipe.testing.tiny import family
from tests.adapter_cells import OBJECTIVES, Cell

EVIDENCE = Path(__file__).parents[1] / "docs" / "adapters.json"

Recorded = Mapping[str, Mapping[str, list[str]]]

_SHORT = {"encoder": "E", "decoder": "D", "encoder-decoder": "P"}


def evidence(passed: Iterable[Cell]) -> str:
    """The file's text: method, objective, the architectures that passed."""
    there = set(passed)
    found = {
        method: {
            objective: [a for a in architectures if Cell(method, objective, a) in there]
            for objective, architectures in OBJECTIVES.items()
        }
        for method in METHODS
    }
    return json.dumps(found, indent=1) + "\n"


def _cell(objective: str, passed: list[str]) -> str:
    """The families that passed; a star where an architecture of the family did not."""
    marks = []
    for kind, mark in _SHORT.items():
        there = [name for name in OBJECTIVES[objective] if family(name) == kind]
        ours = [name for name in there if name in passed]
        if ours:
            marks.append(mark if ours == there else f"{mark}*")
    return " ".join(marks) or "–"


def markdown(recorded: Recorded) -> str:
    """A row per method."""
    head = ["method", "what it trains", *OBJECTIVES, "merges"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, method in METHODS.items():
        source = method.source if method.source.startswith("http") else ""
        about = f"[{method.about}]({source})" if source else method.about
        cells = [_cell(objective, recorded[name][objective]) for objective in OBJECTIVES]
        merges = "yes" if method.saved and method.merges else "only merged" if method.merges else "no"
        lines.append(f"| {' | '.join([f'`{name}`', about, *cells, merges])} |")
    return "\n".join(lines)


def left_out() -> str:
    """A row per method that a recipe cannot name."""
    return "\n".join(["| left out | why |", "|---|---|", *(f"| `{name}` | {why} |" for name, why in OUT.items())])


def _put(text: str, name: str, table: str) -> str:
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda at: f"{at[1]}{table}\n{at[2]}", text, flags=re.S)


if __name__ == "__main__":
    page = EVIDENCE.parent / "adapters.md"
    recorded = json.loads(EVIDENCE.read_text(encoding="utf-8"))
    text = _put(page.read_text(encoding="utf-8"), "methods", markdown(recorded))
    page.write_text(_put(text, "left out", left_out()), encoding="utf-8")
