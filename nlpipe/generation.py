"""How a model writes text: the settings of a recipe's `generation:`, and of a single call.

The names and meanings are those of transformers' GenerationConfig (a test compares them), each with the range in
which it means something. No model and no library: a recipe is checked without loading either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nlpipe.errors import UnsupportedError, suggest
from nlpipe.recipe_sources import Count, Real, Section, Size, complain

Positive = Annotated[Real, Field(gt=0)]
Share = Annotated[Real, Field(gt=0, le=1)]

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed")
"""Settings that mean something only where tokens are drawn."""

BEAMS = ("length_penalty", "early_stopping")
"""Settings that mean something only where several beams compete."""


class Generation(Section):
    """Settings of text generation; null leaves a setting to the model's own generation_config.json.

    Tokens are drawn only where `do_sample: true` says so, whatever the model's file says: the same question
    then has the same answer. Settings that would do nothing are refused.
    """

    max_new_tokens: Count | None = None
    """tokens an answer has at most; null: as the model's own settings say, else 256"""
    min_new_tokens: Count | None = None
    """tokens an answer has at least"""
    num_beams: Count | None = None
    """beams of a beam search; 1: none"""
    length_penalty: Real | None = None
    """beams: above 0 favours longer answers, below 0 shorter ones"""
    early_stopping: bool | Literal["never"] | None = None
    """beams: stop as soon as num_beams answers are whole"""
    do_sample: bool | None = None
    """draw tokens instead of taking the likeliest"""
    temperature: Positive | None = None
    """sampling: below 1 sharpens the distribution, above 1 flattens it"""
    top_k: Size | None = None
    """sampling: among the k likeliest tokens (Fan et al. 2018); 0: all"""
    top_p: Share | None = None
    """sampling: among the likeliest tokens that hold this share (Holtzman et al. 2020)"""
    min_p: Annotated[Real, Field(ge=0, le=1)] | None = None
    """sampling: among tokens at least this share as likely as the likeliest (Nguyen et al. 2024)"""
    typical_p: Share | None = None
    """sampling: locally typical tokens (Meister et al. 2022)"""
    epsilon_cutoff: Annotated[Real, Field(ge=0, lt=1)] | None = None
    """sampling: no token below this probability (Hewitt et al. 2022)"""
    eta_cutoff: Annotated[Real, Field(ge=0, lt=1)] | None = None
    """sampling: the same, depending on the entropy"""
    repetition_penalty: Positive | None = None
    """above 1: tokens that occurred are less likely (Keskar et al. 2019)"""
    encoder_repetition_penalty: Positive | None = None
    """above 1: tokens of the source are more likely"""
    no_repeat_ngram_size: Size | None = None
    """no n-gram of this size occurs twice"""
    encoder_no_repeat_ngram_size: Size | None = None
    """no n-gram of this size is taken from the source"""
    suppress_tokens: tuple[Size, ...] | None = None
    """token ids that are never written"""
    begin_suppress_tokens: tuple[Size, ...] | None = None
    """token ids that no answer begins with"""
    bad_words_ids: tuple[tuple[Size, ...], ...] | None = None
    """runs of token ids that are never written"""
    forced_bos_token_id: Size | None = None
    """the token id that every answer begins with"""
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """texts at which an answer ends; they are not part of it"""
    num_return_sequences: Count | None = None
    """answers to each question, where tokens are drawn or beams compete"""
    renormalize_logits: bool | None = None
    """make probabilities sum to 1 again after all other settings"""
    seed: Size | None = None
    """sampling: the same seed and question give the same answer"""

    @model_validator(mode="before")
    @classmethod
    def _one_stop(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("stop_strings"), str):
            return {**data, "stop_strings": (data["stop_strings"],)}
        return data

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        given = self.given
        for name in SAMPLING:
            if name in given and not self.do_sample:
                raise complain("does nothing without do_sample: true", name)
        for name in BEAMS:
            if name in given and (self.num_beams or 1) == 1:
                raise complain("does nothing without num_beams above 1", name)
        several, beams = self.num_return_sequences or 1, self.num_beams or 1
        if several > 1 and not self.do_sample and beams < several:
            raise complain(
                f"asks for {several} answers, but there is one likeliest: set do_sample: true, or num_beams: "
                f"{several} or more",
                "num_return_sequences",
            )
        if self.min_new_tokens and self.max_new_tokens and self.min_new_tokens > self.max_new_tokens:
            raise complain(f"is more than max_new_tokens ({self.max_new_tokens})", "min_new_tokens")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The settings that say something."""
        return {name: value for name, value in self if value is not None}

    def called(self, options: Mapping[str, Any]) -> Generation:
        """These settings with those of one call over them; switching sampling or beams off drops what hangs on it.

        Raises UnsupportedError for an unknown name, with the nearest, and for values out of range.
        """
        unknown = [name for name in options if name not in type(self).model_fields]
        if unknown:
            raise UnsupportedError(
                f"unknown option {unknown[0]!r}; {suggest(unknown[0], sorted(type(self).model_fields))}"
            )
        kept = self.given
        off = (SAMPLING if options.get("do_sample") is False else ()) + (BEAMS if options.get("num_beams") == 1 else ())
        kept = {name: value for name, value in kept.items() if name not in off}
        try:
            return Generation.model_validate({**kept, **options})
        except ValidationError as error:
            first = error.errors()[0]
            at = first.get("ctx", {}).get("at") or ".".join(str(part) for part in first["loc"])
            said = first["msg"].replace("Input should be", "must be")
            shown = options.get(str(at).partition(".")[0], kept.get(str(at)))
            raise UnsupportedError(f"option {at} = {shown!r}: {said}") from error
