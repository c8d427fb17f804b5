"""Entities: the words behind a marker, or in front of it for decoders, which only an opened attention can find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlpipe.testing import Rule, rules, task_checks
from nlpipe_ner import EntityRecognition
from nlpipe_ner.examples import Marked, TaggedText
from tests.cells import BOTH_SIDES, CLOSED, OPENED


def marked(words: Sequence[str], tags: Sequence[str]) -> TaggedText:
    """Words with tags as a text with spans."""
    spans: list[dict[str, Any]] = []
    at = 0
    for word, tag in zip(words, tags, strict=True):
        if tag.startswith("B-"):
            spans.append({"start": at, "label": tag[2:]})
        if tag != "O":
            spans[-1]["end"] = at + len(word)
        at += len(word) + 1
    return TaggedText(text=" ".join(words), spans=tuple(Marked(**span) for span in spans))


def rule(*, after: bool) -> Rule:
    """The word's place decides, so it takes more steps than a keyword does."""

    def examples(rows: int, seed: int) -> list[TaggedText]:
        return [marked(*row) for row in rules.marked_words(rows, seed=seed, after=after)]

    def shuffle(rows: Sequence[Any], seed: int) -> list[TaggedText]:
        made = rules.marked_words(len(rows), seed=1, after=after)
        return [marked(*row) for row in rules.shuffled_words(made, seed=seed)]

    return Rule(examples=examples, shuffle=shuffle, chance=0.3)


STEPS = {"train": {"steps": 500}}
LONGER = {"marian": {"train": {"steps": 1000}}}
SHORTER = {"gpt2": {"train": {"steps": 360}}}


@task_checks(EntityRecognition, rule=rule(after=True), recipe=STEPS, per_architecture=LONGER, architectures=BOTH_SIDES)
class TestEntities: ...


@task_checks(EntityRecognition, rule=rule(after=False), recipe=STEPS, per_architecture=SHORTER, architectures=OPENED)
class TestEntitiesOfAnOpenedDecoder: ...


@task_checks(
    EntityRecognition,
    rule=rule(after=True),
    recipe={**STEPS, "model": {"attention": "causal"}},
    architectures=CLOSED,
    slow=True,
)
class TestEntitiesOfACausalDecoder: ...
