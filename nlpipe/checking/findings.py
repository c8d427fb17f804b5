"""What a look at the data finds: a kind, a count, a sentence, and a few rows to look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]

SHOWN = 5  # rows that are shown of a finding; all are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in one split, or between two.

    `error` is what a run would refuse, `warning` what makes scores or models worse, `note` what is good to know.
    `count` is how many rows it concerns (0 where it is about the whole), `rows` are numbers of the first of them in
    their source, `examples` a few put into words. `advice` says what to do, where there is something to do.
    """

    level: Level
    kind: str
    split: str
    count: int
    what: str
    advice: str = ""
    examples: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def shortened(text: str, width: int = 80) -> str:
    """A text in one line, its end left out where it is long."""
    line = " ".join(text.split())
    return repr(line if len(line) <= width else f"{line[: width - 1]}…")


def rows(count: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} row{'' if count == 1 else 's'}"
