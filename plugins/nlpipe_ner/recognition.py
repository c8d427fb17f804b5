"""The task `ner`: where in a text the entities are, and of which type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from nlpipe.details import Detail
from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.metrics import Metric
from nlpipe.objectives import Objective, TokenLabel
from nlpipe.objectives.base import Answer, Query, Words, WordScores
from nlpipe.results import Entities, Span
from nlpipe.task import Family, Format, Note, Task, TaskOptions
from nlpipe_ner.columns import CONLL
from nlpipe_ner.decoding import Automaton
from nlpipe_ner.details import details
from nlpipe_ner.examples import Entity, Marked, PlainText, TaggedText, problems, tagged
from nlpipe_ner.schemes import OUTSIDE, Chunk, Scheme, detect, faults, parse, read, write
from nlpipe_ner.scores import F1, FURTHER, PRECISION, RECALL, STRICT, STRICT_IOB1, of_type

SCHEMES: dict[str, Scheme] = {"bio": "iob2", "iob2": "iob2", "iob1": "iob1", "iobes": "iobes", "bilou": "iobes"}


class EntityOptions(TaskOptions):
    """What stands beside `name: ner` in a recipe."""

    scheme: Literal["auto", "bio", "iob1", "iob2", "iobes", "bilou"] = Field(
        "auto",
        description="how the rows' tags are meant; all are read alike, this decides which are reported as ill-formed, "
        "and with iob1 what `strict_f1` takes for well-formed (else IOB2, or IOBES where tags have its letters)",
    )
    misaligned: Literal["error", "widen"] = Field(
        "error",
        description="a gold span that ends within a word: refuse the row, or learn the whole words (counted)",
    )
    segmenter: Literal["unicode-1"] = Field(
        "unicode-1", description="the rule that finds the words of a raw text; recorded with the model"
    )


class EntityRecognition(Task[PlainText, TaggedText, Entities, EntityOptions]):
    """Entities with character offsets, a type and a confidence."""

    name: ClassVar[str] = "ner"
    summary: ClassVar[str] = "named entities in a text, with offsets"
    Input = PlainText
    Example = TaggedText
    Result = Entities
    Options = EntityOptions
    metrics: ClassVar[tuple[Metric, ...]] = (F1, PRECISION, RECALL)
    further: ClassVar[tuple[Metric, ...]] = FURTHER
    formats: ClassVar[Mapping[str, Format]] = {"conll": CONLL}
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"spans": ("entities",), "tags": ("ner_tags", "labels")}

    def __init__(self, labels: Sequence[str] = (), options: EntityOptions | None = None) -> None:
        super().__init__(labels, options)
        if self.options.scheme == "iob1":
            own = dict(zip(STRICT, STRICT_IOB1, strict=True))
            self.further = tuple(own.get(one, one) for one in FURTHER)  # type: ignore[misc]  # a class variable for others

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """A label per word, in every family."""
        return dict.fromkeys(Family, (TokenLabel,))

    def objective(self, kind: type[Objective]) -> Objective:
        """One of the tags for each word. Raises UnsupportedError where the labels are no tags."""
        if OUTSIDE not in self.labels or len(self.labels) < 2:
            raise UnsupportedError(
                f"the labels of named entities are tags: {OUTSIDE}, and B- and I- before each type (O, B-person, "
                f"I-person); these are {', '.join(self.labels) or 'none'}"
            )
        return TokenLabel(labels=self.labels, background=self.labels.index(OUTSIDE))

    def query(self, given: PlainText, objective: Objective) -> Query:
        """The text and its words: the row's tokens, or those of the recorded segmenter."""
        return Words(given.whole, given.words)

    def gold(self, example: TaggedText, objective: Objective) -> list[int]:
        """The index of each word's tag, in IOB2."""
        if self.options.misaligned == "error":
            _aligned(example)
        chunks, _ = example.chunks
        types = [kind for kind in _types(self.labels) if f"B-{kind}" in self.labels]
        for chunk in chunks:
            if chunk.type not in types:
                raise DataError(f"entity type {chunk.type!r} does not occur in training; {suggest(chunk.type, types)}")
        return [self.labels.index(tag) for tag in write(chunks, len(example.words))]

    @cached_property
    def _automaton(self) -> Automaton:
        return Automaton.of(self.labels)

    def result(self, answer: Answer, given: PlainText) -> Entities:
        """The entities of the likeliest valid sequence of tags over the whole text."""
        assert isinstance(answer, WordScores)
        text, spans = given.whole, []
        for chunk, score in self._automaton.decode(answer.values):
            start, end = answer.spans[chunk.first][0], answer.spans[chunk.last - 1][1]
            spans.append(Span(start, end, chunk.type, score, text[start:end]))
        return Entities(tuple(spans))

    def told(self, cells: Mapping[str, Any], example: TaggedText) -> Mapping[str, Any]:
        """Also `tags`: one for each word of the row, or of the answer's own `tokens` where it has them.

        And spans under the names of others: `type` or `entity_group`, `word`, or [start, end, label].
        """
        cells = _ours(cells)
        if "tags" in cells:
            return tagged(cells["tags"], cells.get("tokens"), example)
        text = example.whole
        for at, span in enumerate(cells["spans"] if isinstance(cells.get("spans"), list) else ()):
            try:
                problem = next(problems(f"spans[{at}]", Marked.model_validate(_bare(span)), text), None)
            except ValidationError:
                continue  # no span at all: what is wrong with it is told where all fields are checked
            if problem:
                raise DataError(f"{problem}. Offsets count characters of the row's text")
        return cells

    def baselines(
        self, train: Sequence[TaggedText], examples: Sequence[TaggedText]
    ) -> Mapping[str, Sequence[Entities]]:
        """Each word with the tag that it has most often in training (the first by name where several have)."""
        seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for example in train:
            tags = write(example.chunks[0], len(example.words))
            for (start, end), tag in zip(example.words, tags, strict=True):
                seen[example.whole[start:end]][tag] += 1
        usual = {word: min(tags.items(), key=lambda item: (-item[1], item[0]))[0] for word, tags in seen.items()}
        return {"usual tag of each word": [_looked_up(example, usual) for example in examples]}

    def plain(self, result: Entities, example: TaggedText) -> tuple[list[str], list[str]]:
        """A tag per word, in IOB2: what seqeval takes. Entities that cut words are widened to them."""
        return [*_tags(result, example)], write(example.chunks[0], len(example.words))

    def details(self, results: Sequence[Entities], examples: Sequence[TaggedText]) -> Iterable[Detail]:
        """Scores by type, kinds of errors, and the texts with most of them."""
        return details(results, examples)

    @classmethod
    def named(cls, name: str, examples: Sequence[TaggedText] = ()) -> Sequence[Metric] | None:
        """`f1:PER`, `precision:PER` and `recall:PER`: of one type; `f1:each`: of each type that the rows have."""
        score, _, kind = name.partition(":")
        if score not in {"f1", "precision", "recall"} or not kind:
            return None
        kinds = sorted({label for example in examples for *_, label in example.entities}) if kind == "each" else [kind]
        return [of_type(score, one) for one in kinds]

    @classmethod
    def notes(cls, examples: Sequence[TaggedText], options: EntityOptions) -> tuple[str, ...]:
        """Ill-formed tags that were repaired, gold spans that overlap others, and those that were widened."""
        return (*_repairs(examples, options), *_overlaps(examples), *_widened(examples))

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "token-classification"

    @classmethod
    def samples(cls) -> Sequence[TaggedText]:
        """Two sentences with spans and one with tags."""
        return (
            TaggedText(
                text="Ada Lovelace was born in London.",
                spans=(Marked(start=0, end=12, label="person"), Marked(start=25, end=31, label="place")),
            ),
            TaggedText(text="The last bus had already left.", spans=()),
            TaggedText(
                tokens=("Emmy", "Noether", "taught", "in", "Erlangen"),
                tags=("B-person", "I-person", "O", "O", "B-place"),
            ),
        )

    @classmethod
    def labels_in(cls, examples: Sequence[TaggedText], options: EntityOptions) -> tuple[str, ...]:
        """`O`, then B- and I- of every type, types by name."""
        types = sorted({placed.chunk.type for example in examples for placed in example.placed})
        if not types:
            raise DataError("no training row has any entity, so there is nothing to learn")
        return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


_LABELS = ("label", "type", "entity_group", "entity", "entity_type")


def _ours(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer under the Result's own names; tags in the place of spans are tags."""
    given = cells.get("spans")
    if not isinstance(given, list):
        return cells
    if given and all(isinstance(one, str) for one in given):
        return {name: cell for name, cell in cells.items() if name != "spans"} | {"tags": given}
    return {name: cell for name, cell in cells.items() if name != "tags"} | {"spans": [_span(one) for one in given]}


def _span(given: Any) -> Any:
    if isinstance(given, list) and len(given) == 3:
        given = dict(zip(("start", "end", "label"), given, strict=True))
    if not isinstance(given, Mapping):
        return given
    label = next((given[name] for name in _LABELS if name in given), None)
    found = {name: given[name] for name in ("start", "end", "score", "text") if name in given}
    return found if label is None else {**found, "label": label}


def _bare(span: Any) -> Any:
    return {key: span.get(key) for key in Marked.model_fields} if isinstance(span, Mapping) else span


def _types(labels: Sequence[str]) -> list[str]:
    """The entity types that labels speak of, in their order."""
    return list(dict.fromkeys(kind for label in labels if (parsed := parse(label)) and (kind := parsed[1])))


def _aligned(example: TaggedText) -> None:
    """Raise DataError for a gold span that ends within a word, with both readings."""
    text = example.whole
    for placed in example.placed:
        if placed.inside:
            start, end, label = placed.given
            outer = text[example.words[placed.chunk.first][0] : example.words[placed.chunk.last - 1][1]]
            raise DataError(
                f"the span {start} to {end} ({label}) is {text[start:end]!r}, which ends within a word; in whole words "
                f"it is {outer!r}. Move it, or set task.misaligned: widen to learn such spans in whole words"
            )


def _looked_up(example: TaggedText, usual: Mapping[str, str]) -> Entities:
    text = example.whole
    tags = [usual.get(text[start:end], OUTSIDE) for start, end in example.words]
    cuts = [(example.words[c.first][0], example.words[c.last - 1][1], c.type) for c in read(tags)]
    return Entities(tuple(Span(start, end, kind, None, text[start:end]) for start, end, kind in cuts))


def _repairs(examples: Sequence[TaggedText], options: EntityOptions) -> Iterator[Note]:
    tagged = {at: example.tags for at, example in enumerate(examples) if example.tags is not None}
    scheme = detect(list(tagged.values())) if options.scheme == "auto" else SCHEMES[options.scheme]
    wrong = {at: [_tag(examples[at], place) for place in faults(tags, scheme)] for at, tags in tagged.items()}
    return _noted(
        wrong,
        f"{{count}} tags in {{rows}} rows are ill-formed {scheme.upper()} and were repaired as conlleval reads them; "
        "the first is {first}",
    )


def _overlaps(examples: Sequence[TaggedText]) -> Iterator[Note]:
    dropped = {at: [_cut(example, one) for one in example.chunks[1]] for at, example in enumerate(examples)}
    return _noted(
        dropped,
        "{count} gold spans in {rows} rows overlap others; the longest are learnt, all are scored. The first that is "
        "not learnt: {first}",
    )


def _widened(examples: Sequence[TaggedText]) -> Iterator[Note]:
    inside = {
        at: [_cut(example, placed.given) for placed in example.placed if placed.inside]
        for at, example in enumerate(examples)
    }
    return _noted(
        inside,
        "{count} gold spans end within a word; whole words are learnt, and the spans are scored as they are. The "
        "first: {first}",
    )


def _noted(found: Mapping[int, Sequence[str]], sentence: str) -> Iterator[Note]:
    """A note on the rows where something was found: `sentence` with the {count} of all, of {rows}, and the {first}."""
    there = {at: said for at, said in found.items() if said}
    if there:
        count, first = sum(map(len, there.values())), next(iter(there.values()))[0]
        told = sentence.format(count=count, rows=len(there), first=first)
        yield Note(told, {at: ", ".join(said) for at, said in there.items()})


def _tag(example: TaggedText, place: int) -> str:
    return f"{(example.tags or ())[place]} at {(example.tokens or ())[place]!r}"


def _cut(example: TaggedText, entity: Entity) -> str:
    start, end, label = entity
    return f"{example.whole[start:end]!r} ({label})"


def _tags(result: Entities, example: TaggedText) -> list[str]:
    touched = (
        ([at for at, (start, end) in enumerate(example.words) if start < span.end and end > span.start], span.label)
        for span in result.spans
    )
    return write([Chunk(at[0], at[-1] + 1, label) for at, label in touched if at], len(example.words))
