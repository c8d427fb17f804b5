"""CoNLL columns: a word per line with its tag, sentences parted by empty lines (Tjong Kim Sang and De Meulder 2003).

The word is the first column and the tag the last one, whatever stands between (part of speech, chunk, gold tag).
Columns are parted by tabs where a line has one, else by spaces. Lines of -DOCSTART- are left out, and so are comments:
lines that begin with # and do not end in a tag (a word may be `#`, or begin with it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nlpipe.errors import DataError
from nlpipe.task import Format, FormatRow
from nlpipe_ner.examples import PlainText
from nlpipe_ner.schemes import Chunk, parse, write

if TYPE_CHECKING:
    from nlpipe.results import Entities

DOCUMENT = "-DOCSTART-"
_SPACES = re.compile("[ \t\r\n]+")


def read(lines: Iterable[str]) -> Iterator[FormatRow]:
    """A row of `tokens` and `tags` per sentence."""
    yield from _sentences(lines)


def _sentences(lines: Iterable[str], *, alone: bool = False, golds: bool = False) -> Iterator[FormatRow]:
    """The sentences; `alone` takes lines of a tag alone, `golds` the column before the last as well."""
    tokens: list[str] = []
    tags: list[str] = []
    before: list[str] = []
    start, fault = 0, ""

    def row() -> FormatRow:
        cells = {"tokens": tokens, "tags": tags}
        return FormatRow(cells | {"tags": before, "predicted_tags": tags} if golds else cells, start, fault)

    for number, line in enumerate(lines, 1):
        columns = _columns(line)
        if columns is None or columns[0] == DOCUMENT:
            if tokens or fault:
                yield row()
            tokens, tags, before, fault = [], [], [], ""
            continue
        if columns[0].startswith("#") and (len(columns) == 1 or parse(columns[-1]) is None):
            continue
        if not tokens and not fault:
            start = number
        columns = ["", *columns] if alone and len(columns) == 1 else columns
        tokens.append(columns[0])
        tags.append(columns[-1])
        before.append(columns[-2] if len(columns) > 1 else "")
        fault = fault or _fault(number, columns, alone=alone, golds=golds)
    if tokens or fault:
        yield row()


def read_answers(lines: Iterable[str]) -> Iterator[FormatRow]:
    """The tags of each sentence; the words too where there is more than one column."""
    for row in _sentences(lines, alone=True):
        tokens = row.cells["tokens"]
        yield row if any(tokens) else FormatRow({"tags": row.cells["tags"]}, row.line, row.fault)


def read_pairs(lines: Iterable[str]) -> Iterator[FormatRow]:
    """Words with their tags in the last column but one and those answered in the last: what conlleval takes."""
    yield from _sentences(lines, golds=True)


def looks(head: str) -> bool:
    """Whether the lines of a text end in tags."""
    found = 0
    for line in head.split("\n")[:200]:
        columns = _columns(line)
        if columns is None or columns[0] == DOCUMENT or (columns[0].startswith("#") and parse(columns[-1]) is None):
            continue
        if parse(columns[-1]) is None:
            return False
        found += 1
    return found > 0


def _columns(line: str) -> list[str] | None:
    """The columns of a line; None for an empty one. Only ASCII white space parts columns: a word may have others."""
    bare = line.strip(" \r\n")
    if not bare.strip("\t"):
        return None
    return bare.split("\t") if "\t" in bare else _SPACES.split(bare)


def _fault(number: int, columns: list[str], *, alone: bool, golds: bool) -> str:
    if golds and (len(columns) < 3 or parse(columns[-2]) is None):
        return f"line {number} has no word, right tag and answered tag, the tags in the last two columns"
    if len(columns) < 2:
        return f"line {number} is {columns[0]!r}: one column, where a word and its tag are two at least"
    if not columns[0].strip() and not alone:
        return f"line {number} has no word before its tag {columns[-1]!r}"
    if parse(columns[-1]) is None:
        return (
            f"line {number} ends in {columns[-1]!r}, which is no tag: O, or B-, I-, E-, S- (or L-, U-, M-) before a "
            "type; the tag is the last column"
        )
    return ""


def written(pairs: Iterable[tuple[Mapping[str, Any], Entities]]) -> Iterator[str]:
    """A word per line, its tag as answered behind a tab; between them the row's own tag where it has one.

    So conlleval reads it (`-d '\\t'`). Tags are IOB2. Raises DataError for a word that columns cannot hold.
    """
    for cells, result in pairs:
        given = PlainText(text=cells.get("text"), tokens=_words(cells))
        words = given.words
        right = cells.get("tags")
        for at, (span, tag) in enumerate(zip(words, write(_chunks(result, words), len(words)), strict=True)):
            word = given.whole[slice(*span)]
            if re.search("[\t\r\n]", word):
                raise DataError(f"the word {word!r} holds a tab or a line end, which columns cannot; write jsonl")
            yield "\t".join([word, *([str(right[at])] if right else []), tag]) + "\n"
        yield "\n"


def _words(cells: Mapping[str, Any]) -> tuple[str, ...] | None:
    tokens = cells.get("tokens")
    return None if tokens is None else tuple(tokens)


def _chunks(result: Entities, words: tuple[tuple[int, int], ...]) -> list[Chunk]:
    """The answered entities over words; they begin and end at words, because words were labelled."""
    starts = {start: at for at, (start, _) in enumerate(words)}
    ends = {end: at + 1 for at, (_, end) in enumerate(words)}
    return [Chunk(starts[span.start], ends[span.end], span.label) for span in result.spans]


CONLL = Format(
    "a word per line, its tag in the last column, empty lines between sentences",
    rows=read,
    answers=read_answers,
    pairs=read_pairs,
    write=written,
    looks=looks,
)
