"""Tokenizers learnt from texts: BPE of bytes, WordPiece, and SentencePiece's Unigram.

The same texts and settings give the same tokenizer in every process. The trainers of WordPiece and Unigram in
`tokenizers` 0.23 do not (they number pieces in the order of a hash table), so WordPiece is learnt by its BPE, and
Unigram by SentencePiece on one thread. Knows no model and no task.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from nlpipe.errors import DataError, RecipeError

CHUNK = 1000
"""Characters that SentencePiece is given at once: it skips lines of more than 4,192 bytes without a word."""

BYTES = 256


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be learnt: `special` come first, in this order, `last` behind all others; all within `size`.

    `begins` puts a space in front of a text, so that its first word is written as any other.
    """

    type: Literal["bpe", "wordpiece", "unigram"]
    size: int
    special: Sequence[str]
    last: Sequence[str] = ()
    unknown: str | None = None
    lowercase: bool = False
    min_frequency: int = 2
    byte_fallback: bool = True
    begins: bool = True


def learn(texts: Iterable[str], wish: Wish) -> Any:
    """A `tokenizers.Tokenizer` without a layout of special tokens around a text.

    Raises RecipeError where `size` has no room for single characters and special tokens, DataError where there is no
    text to learn from.
    """
    return {"bpe": _bytes, "wordpiece": _wordpiece, "unigram": _unigram}[wish.type](texts, wish)


def _bytes(texts: Iterable[str], wish: Wish) -> Any:
    """GPT-2's kind: every text is a row of bytes, so nothing is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    _room(wish, BYTES)
    made = Tokenizer(models.BPE())
    made.normalizer = _normalizer(normalizers.NFC(), wish)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=wish.begins)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=wish.size - len(wish.last),
        min_frequency=wish.min_frequency,
        special_tokens=list(wish.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(_some(texts), trainer)
    made.add_special_tokens(list(wish.last))
    return made


def _wordpiece(texts: Iterable[str], wish: Wish) -> Any:
    """BERT's kind. Every character but a word's first is learnt as a character of its own, which becomes `##`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    normalizer, cutter = normalizers.BertNormalizer(lowercase=wish.lowercase), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in _some(texts):
        words.update(word for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted(set("".join(words)))
    inside = {letter: chr(0xF0000 + at) for at, letter in enumerate(letters)}  # a plane that no text uses
    back = {mark: f"##{letter}" for letter, mark in inside.items()}
    _room(wish, len({word[0] for word in words} | {inside[c] for word in words for c in word[1:]}))

    def marked() -> Iterator[str]:
        for word in sorted(words):
            for _ in range(words[word]):
                yield word[0] + "".join(inside[letter] for letter in word[1:])

    learner = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=wish.size - len(wish.last),
        min_frequency=wish.min_frequency,
        special_tokens=list(wish.special),
        show_progress=False,
    )
    learner.train_from_iterator(marked(), trainer)
    pieces = json.loads(learner.to_str())["model"]["vocab"]
    names = {_told(piece, back): number for piece, number in pieces.items()}
    made = Tokenizer(models.WordPiece(names, unk_token=wish.unknown))
    made.normalizer, made.pre_tokenizer, made.decoder = normalizer, cutter, decoders.WordPiece(cleanup=False)
    made.add_special_tokens([*wish.special, *wish.last])
    return made


def _told(piece: str, back: dict[str, str]) -> str:
    """A piece as WordPiece writes it: `##` once, before the letters of a piece from inside a word."""
    if piece[0] in back:
        return "##" + "".join(back[mark][2:] for mark in piece)
    return piece[0] + "".join(back[mark][2:] if mark in back else mark for mark in piece[1:])


def _unigram(texts: Iterable[str], wish: Wish) -> Any:
    """T5's kind (Kudo 2018, "Subword Regularization"), with bytes for characters it has not learnt."""
    from sentencepiece import SentencePieceTrainer
    from sentencepiece.sentencepiece_model_pb2 import ModelProto
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    held = _room(wish, BYTES if wish.byte_fallback else 0)
    written = BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_chunks(_some(texts)),
            model_writer=written,
            vocab_size=wish.size - held + 1,  # its own unknown token is one of the special ones
            hard_vocab_limit=False,
            character_coverage=0.9995,
            byte_fallback=wish.byte_fallback,
            normalization_rule_name="nmt_nfkc_cf" if wish.lowercase else "nmt_nfkc",
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("]")[2].strip() or str(error)
        raise RecipeError(f"model.tokenizer: SentencePiece cannot learn {wish.size} entries: {reason}") from error
    model = ModelProto.FromString(written.getvalue())
    pieces = [(name, 0.0) for name in wish.special]
    pieces += [(piece.piece, piece.score) for piece in model.pieces if piece.type != piece.UNKNOWN]
    pieces += [(name, 0.0) for name in wish.last]
    unknown = [*wish.special].index(wish.unknown) if wish.unknown else None
    made = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=wish.byte_fallback))
    made.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if wish.begins else "never")
    made.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always" if wish.begins else "never")]
    )
    made.add_special_tokens([*wish.special, *wish.last])
    return made


def _normalizer(own: Any, wish: Wish) -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([own, normalizers.Lowercase()]) if wish.lowercase else own


def _room(wish: Wish, single: int) -> int:
    """How many entries are special tokens. Raises RecipeError where `single` further ones leave no room to learn."""
    held = len(wish.special) + len(wish.last)
    if wish.size <= held + single:
        raise RecipeError(
            f"model.tokenizer.vocab_size is {wish.size}, and {held} special tokens and {single} single characters or "
            f"bytes are needed before anything is learnt: say more than {held + single}"
        )
    return held


def _some(texts: Iterable[str]) -> Iterator[str]:
    """The texts that have something in them. Raises DataError where none has."""
    some = False
    for text in texts:
        if text.strip():
            some = True
            yield text
    if not some:
        raise DataError("the training rows have no text to learn a tokenizer from")


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    """The texts' lines, longer ones in parts that end at a space where there is one."""
    for text in texts:
        for line in text.splitlines():
            rest = line
            while len(rest) > CHUNK:
                at = rest.rfind(" ", 1, CHUNK)
                yield rest[: at if at > 0 else CHUNK]
                rest = rest[at if at > 0 else CHUNK :]
            if rest.strip():
                yield rest
