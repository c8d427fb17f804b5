"""Tokenizers seen from an objective: text to pieces, and pieces to what a model reads. No model, no tensors.

Windows are cut from pieces, so special tokens are laid around them here and not by the tokenizer: one way for
every kind of tokenizer, also those without offsets or overflow (Marian, M2M100).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nlpipe.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text's ids without special tokens, and the half-open character span of each.

    `offsets` is None where the tokenizer cannot tell.
    """

    ids: list[int]
    offsets: list[tuple[int, int]] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The special tokens around one text or two, with the segment of each part."""

    prefix: tuple[int, ...]
    infix: tuple[int, ...]  # between the two; unused for one text
    suffix: tuple[int, ...]
    segments: tuple[int, int, int, int, int]  # of prefix, first, infix, second, suffix

    @property
    def special(self) -> int:
        """How many tokens the layout adds."""
        return len(self.prefix) + len(self.infix) + len(self.suffix)

    def lay(self, first: Sequence[int], second: Sequence[int] = ()) -> tuple[list[int], list[int]]:
        """Ids with special tokens, and the segment of each."""
        runs = (self.prefix, first, self.infix, second, self.suffix)
        ids = [token for run in runs for token in run]
        types = [kind for kind, run in zip(self.segments, runs, strict=True) for _ in run]
        return ids, types


class Tokenizer:
    """One tokenizer of transformers, read-only and safe to share between threads.

    `segments` says whether the model tells first and second texts apart by token types (BERT does, RoBERTa
    does not): tokenizers do not say so reliably.
    """

    def __init__(self, upstream: Any, *, segments: bool) -> None:
        self.upstream = upstream
        self.segments = segments
        self._backend = _own_backend(upstream)
        if upstream.pad_token_id is None:
            # Decoders often have none. The end token serves: what it fills is masked, and never a target.
            upstream.pad_token = upstream.eos_token or upstream.unk_token
        self.pad_id: int = upstream.pad_token_id
        unknown = upstream.unk_token_id
        self._special_ids = frozenset(upstream.all_special_ids) - {unknown}
        literals = sorted((t for t in upstream.all_special_tokens if t), key=len, reverse=True)
        self._literals = re.compile("|".join(map(re.escape, literals))) if literals else None

    def encode(self, text: str) -> Pieces:
        """The text's pieces. A special token's name typed by a user stays text: it never becomes the token."""
        pieces = self._encode(text)
        if self._literals is not None and not self._special_ids.isdisjoint(pieces.ids):
            # T5's vocabulary has `</s>` as an ordinary piece, so splitting special tokens does not help there.
            # A look-alike of the same length breaks the literal and keeps every offset.
            pieces = self._encode(self._literals.sub(lambda m: "‹" + m[0][1:], text))
        return pieces

    def _encode(self, text: str) -> Pieces:
        if self._backend is not None:
            encoding = self._backend.encode(text, add_special_tokens=False)
            return Pieces(encoding.ids, encoding.offsets)
        ids = self.upstream(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return Pieces(list(ids), None)

    @cached_property
    def single(self) -> Layout:
        """The layout of one text."""
        full, types, (start, end), _ = self._probe(None)
        kinds = (_first(types[:start]), _first(types[start:end]), 0, 0, _first(types[end:]))
        return Layout(tuple(full[:start]), (), tuple(full[end:]), kinds)

    @cached_property
    def pair(self) -> Layout:
        """The layout of two texts. Decoders have none of their own; there the end token stands between."""
        full, types, (start, end), (second, last) = self._probe("b")
        infix = tuple(full[end:second])
        if not infix and self.upstream.eos_token_id is not None:
            infix = (self.upstream.eos_token_id,)
        return Layout(
            tuple(full[:start]),
            infix,
            tuple(full[last:]),
            (
                _first(types[:start]),
                _first(types[start:end]),
                _first(types[end:second]),
                _first(types[second:last]),
                _first(types[last:]),
            ),
        )

    def _probe(self, second: str | None) -> tuple[list[int], list[int], tuple[int, int], tuple[int, int]]:
        """Where a probe's own ids lie in what the tokenizer makes of it."""
        probe = self.upstream("a", second, return_token_type_ids=True)
        full: list[int] = list(probe["input_ids"])
        types: list[int] = list(probe.get("token_type_ids") or [0] * len(full))
        first = _find(full, self._encode("a").ids, 0)
        after = _find(full, self._encode("b").ids, first[1]) if second else first
        return full, types, first, after

    @property
    def fallback_id(self) -> int:
        """What stands for a text without any token, so that no row of a batch is empty."""
        for token in (self.upstream.bos_token_id, self.upstream.eos_token_id, self.upstream.unk_token_id):
            if token is not None:
                return int(token)
        return self.pad_id

    @property
    def limit(self) -> int | None:
        """The longest input the tokenizer's own files state; None where they state none."""
        stated = int(self.upstream.model_max_length)
        return stated if stated < 1_000_000 else None  # transformers writes 10^30 for "not stated"

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files as transformers reads them."""
        self.upstream.save_pretrained(folder)


@dataclass(frozen=True, slots=True)
class Tokenizers:
    """The tokenizer of what a model reads and of what it writes; mostly the same one."""

    source: Tokenizer
    target: Tokenizer


def _own_backend(upstream: Any) -> Any | None:
    """A private copy of the fast tokenizer: no truncation, no padding, special tokens split as text."""
    backend = getattr(upstream, "backend_tokenizer", None)
    if backend is None:
        return None
    copy = type(backend).from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def _find(ids: Sequence[int], part: Sequence[int], start: int) -> tuple[int, int]:
    for at in range(start, len(ids) - len(part) + 1):
        if part and list(ids[at : at + len(part)]) == list(part):
            return at, at + len(part)
    raise ArtifactError(
        "the tokenizer gives no ids for the letter 'a', so its files are probably incomplete. "
        "Look for tokenizer.json (or vocab and merges, or a SentencePiece model) in the model's folder."
    )


def _first(kinds: Sequence[int]) -> int:
    return kinds[0] if kinds else 0
