"""Text written as version 4's pipelines had it written: token ids are told, and lengths may count the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nlpipe.compat.settings import Writing
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.generation import BEAMS, SAMPLING, Generation
from nlpipe.objectives import CausalText, Seq2SeqText
from nlpipe.objectives.base import Batch, Generated, Prompt, Raw, Row
from nlpipe.objectives.continuing import Wish, Written

if TYPE_CHECKING:
    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

log = logging.getLogger("nlpipe")

DEFAULTS: dict[bool, dict[str, Any]] = {
    True: {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7},
    False: {"max_new_tokens": 256, "num_beams": 4},
}
"""What the last version 4 did where neither the call nor the model's files say it, of causal models and of pairs."""

_LENGTHS = (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length"))


@dataclass(frozen=True, slots=True)
class Told(Generated):
    """What was written, with its tokens: `prompt` are those that the model was given before them."""

    ids: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered(Prompt):
    """A conversation as the chat template writes it, special tokens meant."""

    rendered: str = ""


@dataclass(frozen=True, kw_only=True)
class _Telling:
    """What both kinds add.

    `longest` and `shortest` count what the model is given too; `ends` are further tokens that end an answer, and
    `forced` is the last token of one that reaches its greatest length.
    """

    longest: int | None = None
    shortest: int | None = None
    ends: frozenset[int] = field(default_factory=frozenset)
    forced: int | None = None

    def _told(self, row: Row, written: Written, scores: Any, tok: Tokenizers) -> Told:
        prompt = row.place.start if row.place.start else row.ids[: row.place.prompt]
        return Told("", written.ended, (), ids=tuple(written.ids), prompt=tuple(prompt))

    def _scored(self, runner: Runner, pairs: Sequence[tuple[Row, Written]], tok: Tokenizers) -> list[Any]:
        return [()] * len(pairs)  # how likely the answers are was never told, and costs a pass

    def _ended(self, wish: Wish) -> Wish:
        further = {"min_length": self.shortest, "forced_eos_token_id": self.forced}
        said = {name: value for name, value in further.items() if value is not None}
        return replace(wish, ends=wish.ends | self.ends, settings={**wish.settings, **said})

    def _capped(self, space: int, given: int) -> int:
        return space if self.longest is None else max(min(space, self.longest - given), 1)


@dataclass(frozen=True, kw_only=True)
class Continuing(_Telling, CausalText):
    """Reads a Prompt, answers Told. A prompt may fill the model but for one token."""

    def prompt_ids(self, query: Prompt, tok: Tokenizers) -> list[int]:
        """Of a conversation what its template wrote."""
        if isinstance(query, Rendered):
            return tok.source.rendered(query.rendered) or [tok.source.fallback_id]
        return CausalText.prompt_ids(self, query, tok)

    def encode(self, query: Any, gold: Any, tok: Tokenizers) -> list[Row]:
        """As everywhere. Raises DataError for a prompt that leaves no room, with what may be said of it."""
        if self.window.long == "error" and (there := len(self.prompt_ids(query, tok))) > self.room([], tok):
            raise DataError(
                f"the prompt has {there} tokens, the model reads {self.window.max_length} with what it writes: shorten "
                "it, or have it cut, handle_long_generation='hole' its beginning, truncation=True its end"
            )
        return CausalText.encode(self, query, gold, tok)

    def room(self, answers: Sequence[Sequence[int]], tok: Tokenizers) -> int:
        """All but one token; less only where room for what is written is asked for (`handle_long_generation`)."""
        if self.window.long == "truncate":
            return self.window.max_length - min(self.generation.max_new_tokens or 1, self.window.max_length // 2)
        return self.window.max_length - 1

    def space(self, row: Row) -> int:
        """What the prompt leaves of the model, and of `longest`."""
        return self._capped(CausalText.space(self, row), len(row.ids))

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """As everywhere; with `shortest` prompts of one length at a time: padding would count as written."""
        if self.shortest is None or batch.tok is None:
            return CausalText.predict(self, runner, batch, call)
        import numpy as np

        groups: dict[int, list[int]] = {}
        for at, row in enumerate(batch.rows):
            groups.setdefault(len(row.ids), []).append(at)
        found: list[Raw] = [None] * len(batch.rows)
        for members in groups.values():
            rows = [batch.rows[at] for at in members]
            one = self.collate(rows, batch.tok, answering=True, rng=np.random.default_rng(0))
            for at, raw in zip(members, CausalText.predict(self, runner, one, call), strict=True):
                found[at] = raw
        return found

    def _wish(self, rows: Sequence[Row], tok: Tokenizers) -> Wish:
        return self._ended(CausalText._wish(self, rows, tok))


@dataclass(frozen=True, kw_only=True)
class Rewriting(_Telling, Seq2SeqText):
    """Reads a Prompt, answers Told."""

    def space(self, row: Row) -> int:
        """What is left of `longest`, or of max_new_tokens: the language that an answer begins with counts as new."""
        begun = len(row.place.start) - 1
        space = Seq2SeqText.space(self, row)
        if begun and self.generation.max_new_tokens:
            space = max(min(space, self.generation.max_new_tokens - begun), 1)
        return self._capped(space, len(row.place.start))

    def _wish(self, rows: Sequence[Row], tok: Tokenizers) -> Wish:
        return self._ended(Seq2SeqText._wish(self, rows, tok))


def asked(
    kind: str, settings: Writing, stated: Mapping[str, Any], *, causal: bool
) -> tuple[Generation, dict[str, Any]]:
    """How a text is to be written: nlpipe's settings, and `longest`, `shortest` and `ends` of the objective.

    The call's arguments stand over those of its `generation_config`, over what the model's files say (`stated`), over
    version 4's defaults.
    """
    levels = [DEFAULTS[causal], stated, _of_config(kind, settings.generation_config), settings.generate]
    found: dict[str, Any] = {}
    for level in levels:
        for new, whole in _LENGTHS:  # either says it: the later one counts
            if new in level or whole in level:
                found.pop(new, None)
                found.pop(whole, None)
        found.update({name: value for name, value in level.items() if value is not None})
    for new, whole in _LENGTHS:  # said both ways at one level
        if new in found:
            found.pop(whole, None)
    objective = {"longest": found.pop("max_length", None), "shortest": found.pop("min_length", None) or None}
    ends = found.pop("eos_token_id", None)
    objective["ends"] = frozenset([] if ends is None else ends if isinstance(ends, list | tuple) else [ends])
    objective["forced"] = found.pop("forced_eos_token_id", None)
    stops = settings.stop_sequence
    if stops is not None:
        found["stop_strings"] = (stops,) if isinstance(stops, str) else tuple(stops)
    return _generation(found), objective


def _generation(found: dict[str, Any]) -> Generation:
    """The settings that do something; others were allowed and are left out with a word."""
    idle = [] if found.get("do_sample") else [name for name in SAMPLING if name in found]
    idle += [] if (found.get("num_beams") or 1) > 1 else [name for name in BEAMS if name in found]
    if idle:
        log.debug("without %s nothing is done with %s", "sampling or beams", ", ".join(idle))
    kept = {name: value for name, value in found.items() if name not in idle and name in Generation.model_fields}
    if kept.get("do_sample") and "seed" not in kept:
        import torch

        # From the global generator, so that transformers.set_seed or torch.manual_seed decides, as it did.
        kept["seed"] = int(torch.randint(0, 2**62, ()).item())
    return Generation().called(kept)


def _of_config(kind: str, config: Any) -> dict[str, Any]:
    """What a GenerationConfig sets. Raises UnsupportedError for what nlpipe has no word for."""
    if config is None:
        return {}
    if not hasattr(config, "to_diff_dict"):
        raise UnsupportedError(f"{kind}: generation_config is a GenerationConfig, not {type(config).__name__}")
    given = {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}
    return dict(Writing.of(kind, given).generate)


def decoded(tok: Any, ids: Sequence[int], clean: bool | None) -> str:
    """The text of ids, without special tokens; spaces before punctuation as `clean` says, None: as the tokenizer."""
    return str(tok.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=clean))


def continued(tok: Any, told: Told, clean: bool | None) -> str:
    """The text that was written behind the prompt: its first space is there where the model wrote one."""
    start, whole = decoded(tok, told.prompt, clean), decoded(tok, (*told.prompt, *told.ids), clean)
    return whole[len(start) :] if whole.startswith(start) else decoded(tok, told.ids, clean)


__all__ = ["Continuing", "Rendered", "Rewriting", "Told", "asked", "continued", "decoded"]
