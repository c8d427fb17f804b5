"""The rows of entity recognition: a text with character spans, or words with a tag each. Either becomes both.

Everything that can be wrong with one row by itself is found here, when the row is read.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

from pydantic import model_validator

from nlpipe.errors import DataError
from nlpipe.task import Record
from nlpipe_ner import segments
from nlpipe_ner.schemes import Chunk, parse, prefixes, read

Span = tuple[int, int]
Entity = tuple[int, int, str]


class Marked(Record):
    """A gold entity: half-open character offsets into the row's `text`, and a label.

    `text`, where a row has it, must be what the offsets cut.
    """

    start: int
    end: int
    label: str
    text: str | None = None


class PlainText(Record):
    """A text, or its words; of words the text is the words joined by single spaces."""

    text: str | None = None
    tokens: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.text is None) == (self.tokens is None):
            both = "both, `text` and `tokens`" if self.tokens is not None else "neither `text` nor `tokens`"
            raise ValueError(f"a row has a text or a list of tokens; this one has {both}")
        for at, token in enumerate(self.tokens or ()):
            if not token.strip():
                raise ValueError(f"tokens[{at}] is empty; leave it out, and its tag with it")
        return self

    @property
    def whole(self) -> str:
        """The text that is read and that offsets count in."""
        return self.text if self.text is not None else " ".join(self.tokens or ())

    @cached_property
    def words(self) -> tuple[Span, ...]:
        """The character spans of the words: the row's tokens, or those of `segments.words`."""
        if self.tokens is None:
            return segments.words(self.text or "")
        found, at = [], 0
        for token in self.tokens:
            found.append((at, at + len(token)))
            at += len(token) + 1
        return tuple(found)


class Placed(NamedTuple):
    """A gold entity over words, and whether words stick out of it at either end."""

    chunk: Chunk
    given: Entity
    inside: bool


class TaggedText(PlainText):
    """An input with its entities: `tags` beside `tokens`, `spans` beside `text`."""

    tags: tuple[str, ...] | None = None
    spans: tuple[Marked, ...] | None = None

    @model_validator(mode="after")
    def _gold(self) -> Self:
        ours, theirs = ("tags", "spans") if self.tokens is not None else ("spans", "tags")
        if getattr(self, theirs) is not None:
            raise ValueError(f"`{theirs}` does not go with `{'tokens' if ours == 'tags' else 'text'}`; use `{ours}`")
        if getattr(self, ours) is None:
            raise ValueError(f"`{ours}` is missing" + ("; a text without entities has []" if ours == "spans" else ""))
        problem = next(self._problems(), None)
        if problem:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if self.tags is not None:
            if len(self.tags) != len(self.tokens or ()):
                yield f"has {len(self.tokens or ())} tokens and {len(self.tags)} tags; each token needs one tag"
            for at, tag in enumerate(self.tags):
                if parse(tag) is None:
                    yield f"tags[{at}] is {tag!r}; a tag is O, or B-, I-, E-, S- (or L-, U-, M-) before a type"
        for at, span in enumerate(self.spans or ()):
            yield from problems(f"spans[{at}]", span, self.whole)

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """The gold entities over words, in order: of each the words that it touches.

        Spaces at a span's ends count for nothing; what else sticks out is told by `inside`.
        """
        if self.tags is not None:
            return tuple(Placed(c, (*_hull(self.words, c), c.type), False) for c in read(self.tags))
        return tuple(sorted(_place(span, self.words) for span in self.spans or ()))

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """(start, end, label) of every gold entity, as the answers are compared with.

        A span that ends within a word stays as it is, so that no answer in whole words can hit it.
        """
        return tuple(p.given if p.inside else (*_hull(self.words, p.chunk), p.chunk.type) for p in self.placed)

    @cached_property
    def marked(self) -> tuple[tuple[Entity, str], ...]:
        """The gold entities with their tags' prefixes; of spans with "", as nothing can be wrong with them."""
        if self.tags is None:
            return tuple((entity, "") for entity in self.entities)
        return tuple(((*_hull(self.words, c), c.type), prefixes(self.tags, c)) for c in read(self.tags))

    @cached_property
    def chunks(self) -> tuple[list[Chunk], list[Entity]]:
        """The entities that can be learnt word by word, and those that cannot because they overlap one of these.

        Of overlapping entities the longest is learnt, of equally long ones the first.
        """
        kept: list[Chunk] = []  # in order, none overlapping
        left: list[Entity] = []
        for chunk, given, _ in sorted(self.placed, key=lambda p: (p.chunk.first - p.chunk.last, p)):
            at = bisect_left(kept, chunk.first, key=lambda other: other.last - 1)
            if at < len(kept) and kept[at].first < chunk.last:
                left.append(given)
            else:
                kept.insert(at, chunk)
        return kept, left


def tagged(tags: Any, tokens: Any, example: TaggedText) -> dict[str, Any]:
    """The entities that tags spell, as a result's fields: of the row's words, or of other tokens of the same text.

    Raises DataError where they are no tags, are not as many as the words, or where the tokens are another text's.
    """
    text = example.whole
    words = example.words if tokens is None or _alike(tokens, example) else placed_in(text, tokens)
    if not (isinstance(tags, list) and all(isinstance(tag, str) and parse(tag) for tag in tags)):
        odd = next((tag for tag in tags if not (isinstance(tag, str) and parse(tag))), "") if tags else tags
        raise DataError(f"{odd!r} is no tag; a tag is O, or B-, I-, E-, S- (or L-, U-, M-) before a type")
    if len(tags) != len(words):
        raise DataError(f"has {len(tags)} tags for {len(words)} words")
    chunks = read(tags)
    cuts = [(*_hull(words, chunk), chunk.type) for chunk in chunks]
    spans = [{"start": start, "end": end, "label": label, "text": text[start:end]} for start, end, label in cuts]
    return {"spans": spans, "prefixes": [prefixes(tags, chunk) for chunk in chunks]}


def _alike(tokens: Any, example: TaggedText) -> bool:
    """Whether tokens are the row's words, half of which may be written in another way (lower-cased, `<unk>`)."""
    if not isinstance(tokens, list) or len(tokens) != len(example.words):
        return False
    ours = (example.whole[start:end] for start, end in example.words)
    same = sum(str(one).lower() == other.lower() for one, other in zip(tokens, ours, strict=True))
    return 2 * same >= len(tokens)


def placed_in(text: str, tokens: Sequence[Any]) -> tuple[Span, ...]:
    """Where tokens stand in the text whose words they are, one behind the other, with nothing but space between.

    Raises DataError at the first that does not.
    """
    found, at = [], 0
    for number, token in enumerate(tokens):
        while at < len(text) and text[at].isspace():
            at += 1
        if not isinstance(token, str) or not token or not text.startswith(token, at):
            raise DataError(f"tokens[{number}] is {token!r}, where the row's text goes on {text[at : at + 20]!r}")
        found.append((at, at + len(token)))
        at += len(token)
    if text[at:].strip():
        raise DataError(f"the tokens end before the row's text does, at {text[at : at + 20].strip()!r}")
    return tuple(found)


def problems(name: str, span: Marked, text: str) -> Iterator[str]:
    """What is wrong with a span of a text."""
    if not 0 <= span.start < span.end <= len(text):
        yield f"{name} is {span.start} to {span.end}; the text has {len(text)} characters, and end is behind start"
        return
    cut = text[span.start : span.end]
    if span.text is not None and span.text != cut:
        yield f"{name} says {span.text!r}, but its offsets {span.start} to {span.end} cut {cut!r}{_nearby(span, text)}"
    if not span.label.strip():
        yield f"{name}.label is empty"
    if not segments.words(cut):
        yield f"{name} covers no word, only {cut!r}"


def _nearby(span: Marked, text: str) -> str:
    """Where the text that a span says stands, the nearest to its offsets first."""
    places = [match.start() for match in re.finditer(re.escape(span.text or ""), text)] if span.text else []
    if not places:
        return "; it does not occur in the text"
    start = min(places, key=lambda place: abs(place - span.start))
    return f"; it stands at {start} to {start + len(span.text or '')}"


def _place(span: Marked, words: Sequence[Span]) -> Placed:
    first = bisect_right(words, span.start, key=lambda word: word[1])
    last = bisect_left(words, span.end, key=lambda word: word[0])
    sticks_out = words[first][0] < span.start or words[last - 1][1] > span.end
    return Placed(Chunk(first, last, span.label), (span.start, span.end, span.label), sticks_out)


def _hull(words: Sequence[Span], chunk: Chunk) -> Span:
    return words[chunk.first][0], words[chunk.last - 1][1]
