"""The first view: what a text is cut into. Needs a tokenizer and no weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nlpipe.inspect.reading import WORD, Piece, Reading, Word, read
from nlpipe.inspect.subject import Subject, load
from nlpipe.inspect.view import View, plain
from nlpipe.tokens import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text as one tokenizer cuts it.

    `kind` is its method (WordPiece, BPE, Unigram, words, bytes), `vocabulary` its size, `unknown` how many pieces
    it does not know, `per_word` the mean number of pieces that a word becomes.
    """

    name: str
    kind: str
    vocabulary: int | None
    pieces: tuple[Piece, ...]
    words: tuple[Word, ...]
    unknown: int
    per_word: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens(View):
    """A text, and how each of several tokenizers cuts it; `cuts[0]` is the model's own."""

    what: ClassVar[str] = "tokens"

    text: str
    cuts: tuple[Cut, ...]

    @property
    def size(self) -> int:
        """The model's own tokens."""
        return len(self.cuts[0].pieces)

    def picture(self, first: int) -> dict[str, Any]:
        """All pieces: a page can hold them."""
        return {"text": self.text, "cuts": plain(self.cuts)}


def tokens(model: str | Path | Subject, text: str, *, beside: Sequence[str] = ("words", "bytes")) -> Tokens:
    """How a model's tokenizer cuts a text, and others `beside` it: further models, `words`, `bytes`.

    Raises DataError for an empty text.
    """
    subject = load(model)
    own = _cut(subject.name, subject.tokenizers.source, text)
    others = [_cut_by(name, text) for name in beside]
    has_config = (subject.location.folder / "config.json").is_file()
    notes = []
    if has_config and len(own.pieces) > subject.limit:
        notes.append(f"the text has {len(own.pieces)} tokens; {subject.name} reads {subject.limit} at once")
    return Tokens(model=subject.name, notes=tuple(notes), text=text, cuts=(own, *others))


def _cut_by(name: str, text: str) -> Cut:
    if name == "words":
        return _words(text)
    if name == "bytes":
        return _bytes(text)
    return _cut(name, load(name).tokenizers.source, text)


def _cut(name: str, tok: Tokenizer, text: str) -> Cut:
    return _counted(name, _kind(tok), len(tok.upstream), read(text, tok))


def _counted(name: str, kind: str, vocabulary: int | None, found: Reading) -> Cut:
    sizes = [len(word.pieces) for word in found.words]
    return Cut(
        name=name,
        kind=kind,
        vocabulary=vocabulary,
        pieces=found.pieces,
        words=found.words,
        unknown=sum(piece.unknown for piece in found.pieces),
        per_word=sum(sizes) / len(sizes) if sizes else 0.0,
    )


def _kind(tok: Tokenizer) -> str:
    backend = getattr(tok.upstream, "backend_tokenizer", None)
    if backend is None:
        return "SentencePiece"
    described = json.loads(backend.to_str())
    model = described["model"]
    steps = json.dumps(described.get("pre_tokenizer"))
    return "byte-level BPE" if model["type"] == "BPE" and "ByteLevel" in steps else str(model["type"])


def _words(text: str) -> Cut:
    """Each word a token, with as many ids as there are different words."""
    spans = [match.span() for match in WORD.finditer(text)]
    known: dict[str, int] = {}
    pieces = tuple(
        Piece(known.setdefault(text[s:e], len(known)), text[s:e], text[s:e], s, e, word=index)
        for index, (s, e) in enumerate(spans)
    )
    words = tuple(Word(text[s:e], s, e, (index,)) for index, (s, e) in enumerate(spans))
    return _counted("words", "words", None, Reading(text, pieces, words))


def _bytes(text: str) -> Cut:
    """Each byte of the text in UTF-8 a token."""
    owner = {at: index for index, match in enumerate(WORD.finditer(text)) for at in range(match.start(), match.end())}
    pieces: list[Piece] = []
    own: dict[int, list[int]] = {}
    for at, character in enumerate(text):
        for byte in character.encode("utf-8", "surrogatepass"):
            if at in owner:
                own.setdefault(owner[at], []).append(len(pieces))
            single = chr(byte) if 0x21 <= byte < 0x7F else f"{byte:02X}"
            pieces.append(Piece(byte, f"{byte:02X}", single, at, at + 1, word=owner.get(at)))
    words = tuple(
        Word(match[0], match.start(), match.end(), tuple(own[index])) for index, match in enumerate(WORD.finditer(text))
    )
    return _counted("bytes", "bytes", 256, Reading(text, tuple(pieces), words))
