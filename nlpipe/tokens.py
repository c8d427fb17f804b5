"""Tokenizers seen from an objective: text to pieces, and pieces to what a model reads. No model, no tensors.

Windows are cut from pieces, so special tokens are laid around them here and not by the tokenizer: one way for
every kind of tokenizer, also those without offsets or overflow (Marian, M2M100).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nlpipe.errors import ArtifactError, DataError, UnsupportedError, suggest


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
    does not): tokenizers do not say so reliably. `writes` takes the half that a tokenizer of two
    languages has for what is written (Marian's target.spm).
    """

    def __init__(self, upstream: Any, *, segments: bool, writes: bool = False) -> None:
        self.upstream = upstream
        self.segments = segments
        self._text = "text_target" if writes else "text"
        self._lock = threading.Lock()
        self._languages: dict[str, Layout] = {}
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
        given = {self._text: text}
        ids = self.upstream(**given, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return Pieces(list(ids), None)

    def encode_with_words(self, text: str) -> tuple[Pieces, list[int | None] | None]:
        """The text's pieces, and for each the number of what the tokenizer parts as a word; None where it cannot tell.

        Words of a tokenizer differ from one to the next: `objectives.words` has words that do not.
        """
        pieces = self.encode(text)
        if self._backend is None:
            return pieces, None
        encoding = self._backend.encode(text, add_special_tokens=False)
        return pieces, list(encoding.word_ids) if len(encoding.ids) == len(pieces.ids) else None

    def encode_words(self, words: Sequence[str], starts: Sequence[int]) -> Pieces:
        """The pieces of words that stand at `starts` in their text, each word by itself as the tokenizer does it.

        Raises UnsupportedError where it tells no characters.
        """
        if self._backend is None:
            raise UnsupportedError("this model's tokenizer cannot tell where its tokens lie: give it texts, not words")
        encoding = self._backend.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        numbers = encoding.word_ids
        offsets = [
            (start + starts[number or 0], end + starts[number or 0])
            for number, (start, end) in zip(numbers, encoding.offsets, strict=True)
        ]
        return Pieces(encoding.ids, offsets)

    def harmless(self, text: str) -> str:
        """The text with the names of special tokens broken by a look-alike of the same length."""
        return text if self._literals is None else self._literals.sub(lambda m: "‹" + m[0][1:], text)

    def rendered(self, text: str) -> list[int]:
        """The ids of a text in which special tokens' names are meant, as a chat template writes them."""
        return list(self.upstream(text, add_special_tokens=False, verbose=False)["input_ids"])

    def chat(self, messages: Sequence[tuple[str, str]], answer: str | None = None) -> tuple[str, str | None]:
        """(role, text) turns as the model's own template writes them, and what an answer adds to that.

        Raises UnsupportedError where there is no template, or where it writes a conversation with its answer
        otherwise than without: the answer's tokens could then not be told from the prompt's.
        """
        if not getattr(self.upstream, "chat_template", None):
            raise UnsupportedError(
                "this model's tokenizer has no chat template: it was not made for conversations. Take a model that "
                "was (an -Instruct or -Chat one), or a prompt of plain text"
            )
        turns = [{"role": role, "content": self.harmless(text)} for role, text in messages]
        prompt = self._render(turns, open_=True)
        if answer is None:
            return prompt, None
        whole = self._render([*turns, {"role": "assistant", "content": self.harmless(answer)}], open_=False)
        if not whole.startswith(prompt):
            same = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
            raise UnsupportedError(
                "this model's chat template writes the conversation with its answer otherwise than without: "
                f"'…{prompt[same : same + 40]}' becomes '…{whole[same : same + 40]}'. What is learnt and what is asked "
                "would differ; give the tokenizer a template whose generation prompt is how an answer begins"
            )
        return prompt, whole[len(prompt) :]

    def _render(self, turns: Sequence[Mapping[str, str]], *, open_: bool) -> str:
        try:
            return str(self.upstream.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=open_))
        except Exception as error:  # jinja2's errors, which a template raises for roles it does not take
            raise DataError(f"the model's chat template does not take these messages: {error}") from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self.upstream.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def decode_after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """The text that `ids` add to that of `before`: its first space is there where the model wrote one."""
        context = list(before[-4:])
        start, whole = self.decode(context), self.decode([*context, *ids])
        return whole[len(start) :] if start and whole.startswith(start) else self.decode(ids)

    @cached_property
    def end_id(self) -> int:
        """The token that ends a written text. Raises ArtifactError where the tokenizer has none."""
        for token in (self.upstream.eos_token_id, self.upstream.sep_token_id):
            if token is not None:
                return int(token)
        raise ArtifactError("the tokenizer names no end token (eos_token), so no answer could ever end")

    @cached_property
    def spaced(self) -> bool:
        """Whether a text's first word is encoded as after a space (SentencePiece) or as in mid-word (byte-level)."""
        first = self.encode("a").ids
        token = self.upstream.convert_ids_to_tokens(first[0]) if first else ""
        return str(token).startswith("▁") or bool(first and first == self.encode(" a").ids)

    def layout_in(self, language: str | None) -> Layout:
        """The layout of one text in the language of that code; None: of models that are not told languages.

        Raises DataError for a code that the tokenizer does not know.
        """
        if language is None or not self.told_languages:
            return self.single
        self.language_id(language)
        with self._lock:
            if language not in self._languages:
                before = self.upstream.src_lang
                self.upstream.src_lang = language
                try:
                    full, _, (start, end), _ = self._probe(None)
                finally:
                    self.upstream.src_lang = before
                self._languages[language] = Layout(tuple(full[:start]), (), tuple(full[end:]), (0, 0, 0, 0, 0))
            return self._languages[language]

    @property
    def languages(self) -> tuple[str | None, str | None]:
        """The source's and the target's that the tokenizer says it is for, of one that is for two alone (Marian's).

        Of one for many its files have to name a target: a source alone is there whatever it was made for.
        """
        if self.told_languages:
            stated = getattr(self.upstream, "init_kwargs", {})
            source, target = (stated.get(name) or None for name in ("src_lang", "tgt_lang"))
            return (source, target) if target else (None, None)
        source, target = (getattr(self.upstream, name, None) for name in ("source_lang", "target_lang"))
        return source or None, target or None

    def language_id(self, code: str) -> int:
        """The token of a language. Raises DataError for a code that the tokenizer does not know."""
        known = getattr(self.upstream, "lang_code_to_id", None) or {
            token: self.upstream.convert_tokens_to_ids(token)
            for token in self.upstream.all_special_tokens
            if re.fullmatch(r"[a-z]{2,3}_[A-Za-z]{2,4}", token)  # en_XX (mBART), eng_Latn (NLLB)
        }
        if code not in known:
            raise DataError(f"unknown language code {code!r}; {suggest(code, sorted(known))}")
        return int(known[code])

    @property
    def told_languages(self) -> bool:
        """Whether the model is told the languages of what it reads and writes (mBART, M2M100, NLLB)."""
        return hasattr(self.upstream, "src_lang")

    @property
    def begins(self) -> bool:
        """Whether every text begins with a token that says nothing (BART's <s>), and so names no language."""
        return self._text == "text" and not self.told_languages and bool(self.single.prefix)

    @property
    def starts_with_language(self) -> bool:
        """Whether the decoder begins with the language itself (mBART 25) and not after a start token (mBART 50)."""
        return type(self.upstream).__name__ in {"MBartTokenizer", "MBartTokenizerFast"}

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

    @cached_property
    def plain_ids(self) -> list[int]:
        """All tokens but the special ones: what a random token is drawn from."""
        special = {*self.upstream.all_special_ids, *self.blanks}
        return [token for token in range(len(self.upstream)) if token not in special]

    @cached_property
    def blanks(self) -> tuple[int, ...]:
        """The tokens that stand for what is taken out of a text: T5's sentinels in their order, else the mask token.

        Where there is neither (Marian), the unknown token serves: no text has it that the tokenizer knows.
        """
        known = self.upstream.get_vocab()
        for form in ("<extra_id_{}>", "▁<extra_id_{}>"):  # mT5 has them as ordinary pieces
            found = [known[name] for number in range(100) if (name := form.format(number)) in known]
            if len(found) > 1:
                return tuple(found)
        token = self.upstream.mask_token_id if self.upstream.mask_token_id is not None else self.upstream.unk_token_id
        return () if token is None else (int(token),)

    @property
    def fallback_id(self) -> int:
        """What stands for a text without any token, so that no row of a batch is empty."""
        for token in (self.upstream.bos_token_id, self.upstream.eos_token_id, self.upstream.unk_token_id):
            if token is not None:
                return int(token)
        return self.pad_id

    @property
    def backend_text(self) -> str | None:
        """The state of the fast tokenizer as its library writes it; None where Python does the work."""
        backend = getattr(self.upstream, "backend_tokenizer", None)
        return None if backend is None else str(backend.to_str())

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
    """The tokenizer of what a model reads and of what it writes; mostly the same one.

    `start` is what a decoder of a pair reads before the first token it writes: its start token, and the token that
    every answer begins with where the model has one (BART's <s>). Empty for models of one half.
    """

    source: Tokenizer
    target: Tokenizer
    start: tuple[int, ...] = ()


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
