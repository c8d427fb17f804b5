"""The names that version 4 of transformers gave to what a pipeline does, and the model it took where none was named."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from nlpipe.errors import UnsupportedError, suggest

ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
"""Other names of the same."""

DEFAULTS = {
    "text-classification": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    "zero-shot-classification": "facebook/bart-large-mnli",
    "token-classification": "dbmdz/bert-large-cased-finetuned-conll03-english",
    "question-answering": "distilbert/distilbert-base-cased-distilled-squad",
    "summarization": "sshleifer/distilbart-cnn-12-6",
    "translation": "google-t5/t5-base",
    "text2text-generation": "google-t5/t5-base",
    "text-generation": "openai-community/gpt2",
    "fill-mask": "distilbert/distilroberta-base",
    "feature-extraction": "distilbert/distilbert-base-cased",
}
"""Every name, with the model that version 4 took (SUPPORTED_TASKS of its pipelines/__init__.py)."""

HEADS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForConditionalGeneration": "text2text-generation",
    "MTModel": "text2text-generation",
    "EncoderDecoderModel": "text2text-generation",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForMaskedLM": "fill-mask",
    "Model": "feature-extraction",
}
"""What the end of a model's class says it does; the first that fits."""

_LANGUAGES = re.compile(r"translation_([A-Za-z]{2,3})_to_([A-Za-z]{2,3})")

# What version 4 had and is not of text alone, or is gone for good.
_ELSEWHERE = {
    "conversational": "it went before version 5 did; text-generation takes a conversation as a list of messages",
    "table-question-answering": "transformers 5 still has it: transformers.pipeline",
}


class Name(NamedTuple):
    """A name taken apart: `kind` is one of DEFAULTS, `given` the name as it came, `languages` those it names."""

    kind: str
    given: str
    languages: tuple[str, str] | None = None

    @property
    def default(self) -> str:
        """The model that version 4 took."""
        return DEFAULTS[self.kind]


def read(name: str) -> Name:
    """A name of version 4. Raises UnsupportedError with the nearest for any other."""
    if languages := _LANGUAGES.fullmatch(name):
        return Name("translation", name, (languages[1], languages[2]))
    if name in _ELSEWHERE:
        raise UnsupportedError(f"nlpipe.compat has no {name!r}: {_ELSEWHERE[name]}")
    kind = ALIASES.get(name, name)
    if kind not in DEFAULTS:
        known = [*DEFAULTS, *ALIASES, "translation_xx_to_yy"]
        other = any(
            word in name for word in ("image", "audio", "speech", "video", "visual", "object", "depth", "mask-")
        )
        hint = "it is not of text; transformers 5 still has such pipelines" if other else suggest(name, known)
        raise UnsupportedError(f"nlpipe.compat has no {name!r}: {hint}")
    return Name(kind, name)


def of_classes(classes: Collection[str], model: str) -> Name:
    """What a model does, by the classes that its config names. Raises UnsupportedError where they do not say."""
    for end, kind in HEADS.items():
        if any(name.endswith(end) for name in classes):
            return Name(kind, kind)
    raise UnsupportedError(
        f"{model} does not say what it does ({', '.join(classes) or 'its config names no class'}): name the task, "
        f"pipeline('text-classification', model=…); {suggest('', DEFAULTS)}"
    )
