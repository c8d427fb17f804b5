"""nlpipe's kit on the task."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nlpipe.testing import Rule, rules, task_checks

from nlpipe_keyphrases import KeyphraseExtraction
from nlpipe_keyphrases.task import Tagged


def behind_the_marker(rows: int, seed: int) -> Sequence[Tagged]:
    """The keyphrase is the word behind `north`, which stands in the text once among words like it."""
    draw = random.Random(seed)
    made = []
    for _ in range(rows):
        phrase, *others = draw.sample(rules.FILLERS, draw.randint(4, 8))
        at = draw.randint(0, len(others))
        made.append(Tagged(text=" ".join([*others[:at], "north", phrase, *others[at:]]), keyphrases=(phrase,)))
    return made


def another_word(examples: Sequence[Tagged], seed: int) -> list[Tagged]:
    """The same texts, each with any of its words as the keyphrase."""
    draw = random.Random(seed)
    return [example.model_copy(update={"keyphrases": (draw.choice(example.text.split()),)}) for example in examples]


@task_checks(
    KeyphraseExtraction,
    rule=Rule(examples=behind_the_marker, shuffle=another_word),
    recipe={"train": {"steps": 400}},  # a word's place is harder to learn than which of two comes first
)
class TestKit:
    """Every check of the kit, on a tiny model of each architecture."""
