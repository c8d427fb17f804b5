"""Language modelling: how likely a text is. Pretraining from scratch, and adaptation to the texts of a domain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from nlpipe.details import Detail
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, MaskedText, Objective, Seq2SeqText
from nlpipe.objectives.base import Answer, Query, TextLikelihood
from nlpipe.objectives.base import Text as Read
from nlpipe.objectives.reading import Reading
from nlpipe.results import Likelihood
from nlpipe.task import Family, Record, Task, TaskOptions
from nlpipe_generation.details import details
from nlpipe_generation.likelihood import BITS_PER_BYTE, BITS_PER_CHARACTER, PERPLEXITY


class Given(Record):
    """A text."""

    text: str

    @property
    def says_nothing(self) -> bool:
        """A line without text, as files of running text have between paragraphs."""
        return not self.text.strip()


class Settings(TaskOptions):
    """What stands beside `name` in a recipe."""

    pack: bool = Field(True, description="learn from texts joined into full windows; false: each in its own")
    noise: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="encoders and pairs: the share of tokens that is hidden in training; null: 0.15, and 0.3 for "
        "pairs with one kind of blank (BART)",
    )
    mean_span: float | None = Field(None, ge=1, description="pairs: the mean length of what is hidden; null: 3 tokens")
    whole_words: bool = Field(False, description="encoders: hide words whole")
    hidden: Literal["share", "one"] = Field(
        "share",
        description="encoders, answering: how many tokens are hidden at a time, as many as in training, or one (exact "
        "pseudo-likelihood, a pass for each token)",
    )
    token_log_probabilities: bool = Field(False, description="answer with the log-probability of each token")


ONLY = {
    MaskedText: frozenset({"noise", "whole_words", "hidden"}),
    Seq2SeqText: frozenset({"noise", "mean_span"}),
    CausalText: frozenset[str](),
}
"""The settings that mean something to one way of asking, and nothing to the others."""


class LanguageModelling(Task[Given, Given, Likelihood, Settings]):
    """The likelihood of texts."""

    name: ClassVar[str] = "language_modelling"
    summary: ClassVar[str] = "how likely a text is; pretraining and adaptation to a domain"
    Input = Given
    Example = Given
    Result = Likelihood
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (PERPLEXITY, BITS_PER_CHARACTER, BITS_PER_BYTE)
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {
        "log_probability": ("log_likelihood", "logprob"),
        "tokens": ("num_tokens", "token_count"),
    }
    call_options: ClassVar[frozenset[str]] = frozenset({"token_log_probabilities"})

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """Encoders fill blanks, decoders go on, pairs restore spans."""
        return {
            Family.ENCODER: (MaskedText,),
            Family.DECODER: (CausalText,),
            Family.ENCODER_DECODER: (Seq2SeqText,),
        }

    def objective(self, kind: type[Objective]) -> Objective:
        """One that reads. Raises UnsupportedError for a setting that would do nothing."""
        options = self.options
        every = frozenset[str]().union(*ONLY.values())
        for name in sorted(every - ONLY.get(kind, every)):
            if getattr(options, name) != Settings.model_fields[name].default:
                raise UnsupportedError(f"task.{name} does nothing for {kind.__name__}; leave it out")
        if kind is MaskedText:
            share = MaskedText().share if options.noise is None else options.noise
            return MaskedText(share=share, whole_words=options.whole_words, pack=options.pack, hidden=options.hidden)
        mean = Reading().mean_span if options.mean_span is None else options.mean_span
        reading = Reading(options.pack, options.noise, mean)
        return CausalText(reading=reading) if kind is CausalText else Seq2SeqText(reading=reading)

    def query(self, given: Given, objective: Objective) -> Query:
        """The text itself."""
        if not given.text.strip():
            raise DataError("`text` is empty: there is nothing to be read")
        return Read(given.text)

    def gold(self, example: Given, objective: Objective) -> str:
        """The text: it answers itself."""
        if not example.text.strip():
            raise DataError("`text` is empty: there is nothing to be learnt")
        return example.text

    def result(self, answer: Answer, given: Given) -> Likelihood:
        """The likelihood, with each token's where that was asked for."""
        assert isinstance(answer, TextLikelihood)
        each = answer.token_log_probabilities
        mean = -answer.log_probability / len(each)
        return Likelihood(
            answer.log_probability,
            len(each),
            math.exp(mean) if mean < 700 else math.inf,
            each if self.options.token_log_probabilities else (),
        )

    def told(self, cells: Mapping[str, Any], example: Given) -> Mapping[str, Any]:
        """Also without `perplexity`, which the other two give."""
        total, tokens = cells.get("log_probability"), cells.get("tokens")
        if "perplexity" in cells or not isinstance(total, int | float) or not isinstance(tokens, int) or tokens < 1:
            return cells
        mean = -total / tokens
        return {**cells, "perplexity": math.exp(mean) if mean < 700 else math.inf}

    def details(self, results: Sequence[Likelihood], examples: Sequence[Given]) -> Iterable[Detail]:
        """How the texts' likelihoods are spread, and the least likely texts."""
        return details(results, examples)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "fill-mask" if family is Family.ENCODER else "text-generation"

    @classmethod
    def samples(cls) -> Sequence[Given]:
        """Three lines."""
        return (
            Given(text="The sun went down behind the hills."),
            Given(text="A boat lay in the harbour, and nobody knew whose it was."),
            Given(text="It rained for three days; on the fourth the river rose."),
        )
