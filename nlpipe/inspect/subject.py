"""A model opened to be looked at: its weights, tokenizers and how it reads and writes. Computes no view itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nlpipe import backbone, loading, locating, upstream
from nlpipe.card import is_artifact
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inspect.reading import Reading, plain_pieces, read, shortened, written
from nlpipe.task import Family
from nlpipe.tokens import Tokenizer, Tokenizers

if TYPE_CHECKING:
    from nlpipe.pipelines import Pipeline

_HEADS = {
    Family.ENCODER: "MaskedLM",
    Family.DECODER: "CausalLM",
    Family.ENCODER_DECODER: "Seq2SeqLM",
}


def load(model: str | Path | Subject, *, offline: bool = False) -> Subject:
    """Open a model: a folder of nlpipe's or anyone's, `package:NAME/PATH` or a Hub name.

    Give the result to several views, and the weights are read once. Raises ArtifactError where there is no such
    model.
    """
    return model if isinstance(model, Subject) else Subject(str(model), offline=offline)


class Subject:
    """A model under inspection. Weights are read when a view first needs them."""

    def __init__(self, name: str, *, offline: bool = False) -> None:
        self.name = name
        self.offline = offline
        self.location = locating.locate(name, offline=offline)
        if not is_artifact(self.location.folder) and is_artifact(self.location.folder / "model"):
            self.location = locating.locate(str(self.location.folder / "model"))  # a run's folder: its model is meant

    @property
    def ours(self) -> bool:
        """Whether nlpipe wrote the model, so that it has a task."""
        return is_artifact(self.location.folder)

    @cached_property
    def config(self) -> Any:
        """The model's config, as transformers has it."""
        return self._pipe.runner.model.config if self.ours else upstream.read_config(self.location.folder)  # type: ignore[attr-defined]

    @cached_property
    def family(self) -> Family:
        """Encoder, decoder or encoder-decoder."""
        return self._pipe.card.family if self.ours else backbone.family_of(self.config)

    @cached_property
    def tokenizers(self) -> Tokenizers:
        """What the model reads with and what it writes with."""
        if self.ours:
            return self._pipe.tokenizers
        if not (self.location.folder / "config.json").is_file():  # a tokenizer by itself has its view, too
            only = Tokenizer(upstream.read_tokenizer(self.location.folder, 10**9), segments=False)
            return Tokenizers(only, only)
        return backbone.tokenizers(self.location, self.config)

    @cached_property
    def limit(self) -> int:
        """The longest input in tokens, special tokens included."""
        return backbone.limit_of(self.config, self.tokenizers.source)

    @cached_property
    def network(self) -> Any:
        """The model with the head it was trained with, computing attention so that its weights can be seen."""
        return self._loaded[0]

    @cached_property
    def body(self) -> Any:
        """The model without its head."""
        model = self.network
        return getattr(model, "base", None) or model.base_model

    @property
    def writes(self) -> bool:
        """Whether the model has a trained head over its vocabulary."""
        return self._loaded[1]

    @cached_property
    def _pipe(self) -> Pipeline:
        return loading.load(self.location.folder, device="cpu", backend="torch", offline=self.offline)

    @cached_property
    def _loaded(self) -> tuple[Any, bool]:
        if self.ours:
            runner: Any = self._pipe.runner
            model = runner.model
            model = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT's wrapper
            writes = upstream.writes(model)
        else:
            head = _HEADS[self.family]
            head_or_none = head if upstream.has_head(head, self.config) else None
            model, missing = upstream.load_model(head_or_none, self.location.folder, self.config, torch.float32)
            writes = head_or_none is not None and not missing
        upstream.show_attention(getattr(model, "base", model))
        return model.eval(), writes

    def pipe(self, task: str | None) -> Pipeline:
        """The model with its task: its own, or `task` for a model that nlpipe did not write.

        Raises UnsupportedError where there is none, ArtifactError where the model has no head for it.
        """
        if self.ours:
            if task is not None and task != self._pipe.card.task:
                raise UnsupportedError(f"{self.name} was trained for {self._pipe.card.task}, not for {task}")
            pipe = self._pipe
        elif task is None:
            raise UnsupportedError(
                f"{self.name} is a model without a task, so it gives no answer to explain. Take a model that nlpipe "
                "trained, or name the task that this one has a head for (--set task=…; `nlpipe tasks` lists them)."
            )
        else:
            pipe = loading.pipeline(task, model=self.name, device="cpu", backend="torch", offline=self.offline)
        return pipe

    def need_head(self, why: str) -> None:
        """Raise UnsupportedError where the model has no trained head over its vocabulary."""
        if not self.writes:
            named = ", ".join(getattr(self.config, "architectures", None) or ()) or type(self.network).__name__
            raise UnsupportedError(
                f"{self.name} ({named}) has no trained head over its vocabulary, so it {why}. Take the checkpoint "
                f"with its language-modelling head (…For{_HEADS[self.family]}); tokens, embeddings, positions and "
                "attention work without."
            )

    @cached_property
    def blanks(self) -> tuple[int, ...]:
        """The ids that stand for a blank: the mask token, or T5's sentinels; empty where there is none."""
        tok = self.tokenizers.source.upstream
        if tok.mask_token_id is not None:
            return (int(tok.mask_token_id),)
        known = tok.get_vocab()
        names = (f"<extra_id_{index}>" for index in range(100))
        return tuple(known[name] for name in names if name in known)

    def read(self, text: str, *, blank: bool = False) -> Reading:
        """The text as the model reads it. Raises DataError for an empty text or one longer than its window."""
        found = read(text, self.tokenizers.source, blank=self.blanks if blank else ())
        return self.fits(found, "text")

    def fits(self, reading: Reading, what: str) -> Reading:
        """The reading, if the model can take all of it at once; DataError otherwise."""
        if len(reading.pieces) > self.limit:
            raise DataError(
                f"the {what} {shortened(reading.text)!r} has {len(reading.pieces)} tokens, and {self.name} reads at "
                f"most {self.limit} at once. Give a shorter one; the tokens view has no limit."
            )
        return reading

    def output(self, text: str) -> Reading:
        """A text as the model would have written it: its pieces and the end token, without the start token."""
        tok = self.tokenizers.target
        bare = read(text, tok, bare=True)
        end = self._end(tok)
        ending = plain_pieces([end], tok) if end is not None and bare.ids[-1] != end else ()
        return self.fits(Reading(text, (*bare.pieces, *ending), bare.words), "output")

    def wrote(self, ids: Sequence[int]) -> Reading:
        """Ids that the model wrote."""
        return written(ids, self.tokenizers.target)

    def _end(self, tok: Tokenizer) -> int | None:
        found = self.config.eos_token_id if self.config.eos_token_id is not None else tok.upstream.eos_token_id
        return int(found[0] if isinstance(found, list) else found) if found is not None else None

    @property
    def ends(self) -> frozenset[int]:
        """The ids that end what the model writes."""
        given = getattr(self.network, "generation_config", None)
        found = [self.config.eos_token_id, getattr(given, "eos_token_id", None), self._end(self.tokenizers.target)]
        flat = [one for item in found for one in (item if isinstance(item, list) else [item])]
        return frozenset(int(one) for one in flat if one is not None)

    @property
    def start(self) -> tuple[int, ...]:
        """What an encoder-decoder's decoder has read before it writes its first token."""
        return self.tokenizers.start

    def inputs(self, reading: Reading, decoder: Sequence[int] | None = None) -> dict[str, torch.Tensor]:
        """What the model's forward takes, for one text (and what its decoder has read)."""
        given = {"input_ids": torch.tensor([reading.ids]), "attention_mask": torch.ones(1, len(reading.ids)).long()}
        if reading.types is not None and self.family is Family.ENCODER:
            given["token_type_ids"] = torch.tensor([reading.types])
        if decoder is not None:
            given["decoder_input_ids"] = torch.tensor([list(decoder)])
        return given

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The scores over the vocabulary, float32 [rows, tokens, vocabulary]."""
        with torch.inference_mode():
            found: torch.Tensor = self.network(**inputs).logits.float()
        return found


def check_layer(layer: int | None, count: int, what: str = "layer") -> None:
    """Raise DataError where a layer (or head), counted from 1, is not there."""
    if layer is not None and not 1 <= layer <= count:
        raise DataError(f"there is no {what} {layer}: this model has {count} (1 to {count})")
