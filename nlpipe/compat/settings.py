"""Arguments of version 4: which there were, for which names, and what becomes of each.

Every field is an argument; its description is its row in docs/compat.md, which a test holds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlpipe.errors import UnsupportedError, suggest
from nlpipe.generation import Generation

log = logging.getLogger("nlpipe")

Count = Annotated[int, Field(ge=1)]
Texts = str | list[str] | tuple[str, ...]

USELESS = "accepted, does nothing: "
"""How the description of an argument begins that has no effect, also in version 4 or because of how nlpipe works."""


class Settings(BaseModel):
    """What all pipelines take, when they are made or when they are called."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    batch_size: int | None = Field(None, description=USELESS + "rows of like length share a pass by their tokens")
    num_workers: int | None = Field(None, description=USELESS + "there is no DataLoader")
    binary_output: Literal[False] | None = Field(None, description="only False: no pickles are written")

    further: ClassVar[frozenset[str]] = frozenset()
    """Names that are no fields and are taken all the same (`Writing.generate`)."""

    @classmethod
    def of(cls, kind: str, given: Mapping[str, Any]) -> Self:
        """The settings of `kind`, one of version 4's names.

        Raises UnsupportedError for a name that it did not take, with the nearest, and for wrong values.
        """
        for name in given:
            if name not in cls.model_fields and name not in cls.further:
                known = sorted({*cls.model_fields, *cls.further} - {"generate"})
                raise UnsupportedError(f"{kind} took no argument {name!r} in transformers 4; {suggest(name, known)}")
        try:
            return cls.model_validate(cls.gathered(given))
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            said = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
            raise UnsupportedError(f"{kind}: {name} = {given.get(name)!r}: {said}") from None

    @classmethod
    def gathered(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the fields have them."""
        return dict(given)

    def scattered(self) -> dict[str, Any]:
        """The fields that were given, as arguments."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def over(self, kind: str, given: Mapping[str, Any]) -> Self:
        """These settings with those of one call in their place."""
        return type(self).of(kind, {**self.scattered(), **given}) if given else self

    def said(self, name: str) -> bool:
        """Whether an argument was given at all: `top_k=None` is something else than no `top_k`."""
        return name in self.model_fields_set


class Cutting(Settings):
    """How much of a text is read."""

    truncation: bool | str | None = Field(
        None,
        description="True, or a strategy: what does not fit is cut (`longest_first`, `only_first` and the like alike); "
        "without it a long text is read in windows, where transformers 4 failed",
    )
    max_length: Count | None = Field(None, description="with truncation: tokens that are read at most")
    padding: bool | str | None = Field(None, description=USELESS + "rows are padded where they share a pass")
    add_special_tokens: Literal[True] | None = Field(
        None, description="only True: the model was trained with its special tokens"
    )

    @property
    def cuts(self) -> bool:
        """Whether truncation is asked for."""
        return self.truncation not in (None, False, "do_not_truncate")


class Labelling(Cutting):
    """text-classification."""

    top_k: Count | None = Field(None, description="the k best labels of each text, as a list; None: all of them")
    return_all_scores: bool | None = Field(None, description="True: all labels in the model's order, as a list")
    function_to_apply: Literal["sigmoid", "softmax", "none", "default"] | None = Field(
        None, description="what makes scores of the model's outputs; by default what its config says, as before"
    )


class ZeroShot(Settings):
    """zero-shot-classification."""

    candidate_labels: Texts | None = Field(None, description="a list, or one text with commas between them")
    hypothesis_template: str = Field("This example is {}.", description="the sentence about a label, with {}")
    multi_label: bool = Field(False, description="judge each label by itself")
    multi_class: bool | None = Field(None, description="the old name of multi_label")


class Tagging(Settings):
    """token-classification."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = Field(
        None, description="how tokens become entities; see below"
    )
    grouped_entities: bool | None = Field(None, description="the old name: True is `simple`")
    ignore_subwords: bool | None = Field(None, description="the old name: True, with grouped_entities, is `first`")
    ignore_labels: list[str] | tuple[str, ...] = Field(("O",), description="labels that are left out")
    stride: Annotated[int, Field(ge=0)] | None = Field(
        None, description="read all of a long text, in windows that share so many tokens; needs an aggregation"
    )
    is_split_into_words: bool = Field(False, description="the input is a list of words")
    delimiter: str = Field(" ", description="what stands between the words of such an input")
    offset_mapping: Any = Field(None, description="refused: offsets are those of the model's own tokenizer")

    @property
    def strategy(self) -> str:
        """The aggregation that is asked for, by its new name or the old ones."""
        if self.aggregation_strategy is not None:
            return self.aggregation_strategy
        return ("first" if self.ignore_subwords else "simple") if self.grouped_entities else "none"


class Asking(Settings):
    """question-answering."""

    top_k: Count = Field(1, description="the k best answers; more than one come as a list")
    topk: Count | None = Field(None, description="the old name of top_k")
    doc_stride: Annotated[int, Field(ge=0)] | None = Field(
        None, description="tokens that neighbouring windows of a long context share; min(max_seq_len / 2, 128)"
    )
    max_answer_len: Count = Field(15, description="the most tokens of an answer")
    max_seq_len: Count | None = Field(None, description="tokens of question and context in one window; 384")
    max_question_len: Count = Field(
        64, description=USELESS + "transformers 4 read questions whole too, but for tokenizers without offsets"
    )
    handle_impossible_answer: bool = Field(False, description="an empty answer may be the best")
    align_to_words: bool = Field(True, description="widen answers to the tokenizer's words")
    padding: bool | str | None = Field(None, description=USELESS + "rows are padded where they share a pass")


class Filling(Settings):
    """fill-mask."""

    top_k: Count = Field(5, description="the k best fillings of each blank")
    targets: Texts | None = Field(None, description="only these fillings; the first token of one that has several")
    tokenizer_kwargs: dict[str, Any] | None = Field(
        None, description="`truncation` and `max_length` are heard, other keys refused"
    )


class Extracting(Settings):
    """feature-extraction."""

    truncation: bool | None = Field(None, description="True: what does not fit is cut; else it is refused")
    return_tensors: bool | str | None = Field(None, description="a torch tensor instead of lists")
    tokenize_kwargs: dict[str, Any] | None = Field(
        None, description="`truncation`, `max_length` and `padding`; other keys are refused"
    )


GENERATE = frozenset(Generation.model_fields) | {"max_length", "min_length", "eos_token_id", "forced_eos_token_id"}
"""Arguments of `model.generate` that say something here."""

NOTHING = frozenset({"pad_token_id", "use_cache"})
"""Arguments of `model.generate` that are accepted and change nothing: nlpipe sees to both."""


class Writing(Settings):
    """What all that write take; `generate` gathers the arguments of `model.generate`."""

    truncation: bool | str | None = Field(
        None, description="True: what the model cannot read is cut off; without it see Long texts below"
    )
    return_tensors: bool | str | None = Field(None, description="token ids instead of text")
    return_text: bool | None = Field(None, description="text, as by default")
    clean_up_tokenization_spaces: bool | None = Field(
        None, description="take out spaces before punctuation; by default as the tokenizer's files say"
    )
    stop_sequence: Texts | None = Field(None, description="texts at which an answer ends; they stay in it")
    prefix: str | None = Field(None, description="what is put before each input; by default what the config says")
    generation_config: Any = Field(None, description="a GenerationConfig: what it sets, under the arguments")
    generate: dict[str, Any] = Field({}, description="see Arguments of generation below")

    further: ClassVar[frozenset[str]] = GENERATE | NOTHING

    @classmethod
    def gathered(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of generation under one name."""
        own = {name: value for name, value in given.items() if name not in cls.further}
        generate = {name: value for name, value in given.items() if name in cls.further and value is not None}
        return {**own, "generate": generate} if generate else own

    def scattered(self) -> dict[str, Any]:
        """As they came."""
        found = super().scattered()
        return {**{name: found[name] for name in found if name != "generate"}, **self.generate}


class Rewriting(Writing):
    """text2text-generation and summarization."""


class Translating(Writing):
    """translation."""

    src_lang: str | None = Field(None, description="the source's code, for models that are told languages")
    tgt_lang: str | None = Field(None, description="the target's")


class Continuing(Writing):
    """text-generation."""

    return_full_text: bool | None = Field(None, description="False: what was written, without the prompt")
    handle_long_generation: Literal["hole"] | None = Field(
        None, description="a long prompt loses its beginning, so that max_new_tokens fit behind it"
    )
    continue_final_message: bool | None = Field(
        None, description="go on with the last message; by default where it is the assistant's"
    )
    add_special_tokens: Literal[True] | None = Field(None, description="only True, the tokenizer's own default")
    padding: bool | str | None = Field(None, description=USELESS + "rows are padded where they share a pass")
    skip_special_tokens: Literal[True] | None = Field(None, description="only True, as by default")
    tools: Any = Field(None, description="what the chat template is told of tools")
    documents: Any = Field(None, description="what the chat template is told of documents")


SETTINGS: dict[str, type[Settings]] = {
    "text-classification": Labelling,
    "zero-shot-classification": ZeroShot,
    "token-classification": Tagging,
    "question-answering": Asking,
    "summarization": Rewriting,
    "translation": Translating,
    "text2text-generation": Rewriting,
    "text-generation": Continuing,
    "fill-mask": Filling,
    "feature-extraction": Extracting,
}
"""The arguments of each name."""
