"""How likely texts are: lines of two words, each said several times, so that a word is known by its neighbours."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nlpipe.testing import Rule, rules, task_checks
from nlpipe_generation import LanguageModelling
from nlpipe_generation.reading import Given
from tests.cells import READERS

SHORTEST, LONGEST = 4, 7  # how often a word is said


def said_again(rows: int, seed: int) -> Sequence[Given]:
    draw = random.Random(seed)
    return [Given(text=" ".join(_said(draw))) for _ in range(rows)]


def _said(draw: random.Random) -> list[str]:
    one, other = draw.sample(rules.FILLERS, 2)
    return [one] * draw.randint(SHORTEST, LONGEST) + [other] * draw.randint(SHORTEST, LONGEST)


def anywhere(examples: Sequence[Given], seed: int) -> Sequence[Given]:
    """The words of all texts dealt out anew: lengths and frequencies stay, and no word says anything of the next."""
    words = [word for example in examples for word in example.text.split()]
    random.Random(seed).shuffle(words)
    left = iter(words)
    return [Given(text=" ".join(next(left) for _ in example.text.split())) for example in examples]


# Who knows no more than which words there are has 20. A decoder cannot know the first of about eleven, nor the other
# word where it begins.
RULE = Rule(examples=said_again, shuffle=anywhere, rows=1000, unseen=60, least=6.0, chance=15.0)

# In windows that hold a line or two, where what stands near is learnt soonest.
RECIPE = {"train": {"steps": 300, "learning_rate": 5e-3}, "model": {"max_length": 16}}
OTHERWISE = {
    **{name: {"train": {"steps": 100}} for name in ("gpt2", "gpt_neo", "llama")},
    "roberta": {"train": {"steps": 500}},
    "bert": {"train": {"steps": 220}},
    "t5": {"train": {"steps": 220, "learning_rate": 1e-2}},
    "marian": {"train": {"steps": 400}},
}


@task_checks(
    LanguageModelling,
    rule=RULE,
    recipe=RECIPE,
    per_architecture=OTHERWISE,
    architectures=("gpt2", *(name for name in READERS if name != "gpt2")),  # what is costly is soonest done on it
    # Few and often: a step hides one token in seven, and each is to be hidden many times. Six tokens each: where three
    # in a row are hidden, enough is left to tell which of the two it is.
    samples=[Given(text="the sun went down again."), Given(text="a boat lay in port.")] * 32,
    fit={"steps": 300},
    without={"baselines_are_worse_than_perfect": "perplexity counts a model's own tokens; a trivial answer has none"},
)
class TestLanguageModelling: ...
