"""Tags and what they spell: IOB1, IOB2, IOBES and BILOU, to spans over words and back. No text, no score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Scheme = Literal["iob1", "iob2", "iobes"]
OUTSIDE = "O"

# BILOU writes L (last) and U (unit) for what IOBES calls E (end) and S (single), BMES writes M (middle) for I.
_PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I"}


class Chunk(NamedTuple):
    """Words from `first` up to, not including, `last`, that are one entity of a type."""

    first: int
    last: int
    type: str


@lru_cache(4096)
def parse(tag: str) -> tuple[str, str] | None:
    """(prefix of B I E S, type), or ("O", ""); None where the tag is none."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    known = _PREFIXES.get(prefix)
    return (known, kind) if known and dash and kind.strip() else None


def read(tags: Sequence[str]) -> list[Chunk]:
    """What a sequence of tags spells, by the rules of conlleval (Tjong Kim Sang and Buchholz 2000) and seqeval.

    One reading serves all schemes: an entity begins at B or S, and at I or E where none of its type is open; it
    ends at E or S, and before whatever does not continue it. So every sequence has a reading, also an ill-formed
    one. Raises ValueError for what `parse` does not know.
    """
    chunks: list[Chunk] = []
    start, kind = 0, ""  # the open entity, if its type is not empty
    for at, tag in enumerate(tags):
        parsed = parse(tag)
        if parsed is None:
            raise ValueError(f"{tag!r} is no tag")
        prefix, this = parsed
        if kind and (prefix in "BSO" or this != kind):
            chunks.append(Chunk(start, at, kind))
            kind = ""
        if this and not kind:
            start, kind = at, this
        if prefix in "ES":
            chunks.append(Chunk(start, at + 1, kind))
            kind = ""
    if kind:
        chunks.append(Chunk(start, len(tags), kind))
    return chunks


def prefixes(tags: Sequence[str], chunk: Chunk) -> str:
    """The prefixes of a chunk's tags in the letters of IOBES, such as `BII` or `S`."""
    return "".join((parse(tag) or (OUTSIDE, ""))[0] for tag in tags[chunk.first : chunk.last])


def strict(prefix: str, scheme: Scheme, *, behind: bool) -> bool:
    """Whether the tags of a chunk, by their `prefixes`, are well-formed in a scheme; `behind`: right behind another
    of its type.

    seqeval's strict mode keeps these alone; conlleval, and seqeval by default, read the others as best they can.
    """
    if scheme == "iobes":
        return prefix in {"", "S"} or (prefix[0] + prefix[-1] == "BE" and set(prefix[1:-1]) <= {"I"})
    if scheme == "iob1":
        return set(prefix[1:]) <= {"I"} and (prefix[:1] in {"", "I"} or (prefix[0] == "B" and behind))
    return prefix[:1] in {"", "B"}


def write(chunks: Iterable[Chunk], length: int, scheme: Scheme = "iob2") -> list[str]:
    """The tags of `length` words in a scheme; the chunks must not overlap."""
    tags = [OUTSIDE] * length
    for first, last, kind in chunks:
        tags[first:last] = [f"I-{kind}"] * (last - first)
        if scheme != "iob1":
            tags[first] = f"B-{kind}"
        elif first and parse(tags[first - 1]) in (("I", kind), ("B", kind)):
            tags[first] = f"B-{kind}"  # the one place where IOB1 needs it: right behind another of its type
        if scheme == "iobes":
            tags[last - 1] = f"E-{kind}" if last - first > 1 else f"S-{kind}"
    return tags


def faults(tags: Sequence[str], scheme: Scheme) -> list[int]:
    """The positions whose tag is not how the scheme writes what the tags spell."""
    proper = write(sorted(read(tags)), len(tags), scheme)
    return [at for at, (tag, right) in enumerate(zip(tags, proper, strict=True)) if parse(tag) != parse(right)]


def detect(rows: Sequence[Sequence[str]]) -> Scheme:
    """The scheme that the rows break least; the first of IOB2, IOB1 and IOBES where several fit as well."""
    order: tuple[Scheme, ...] = ("iob2", "iob1", "iobes")
    return min(order, key=lambda scheme: sum(len(faults(tags, scheme)) for tags in rows))
