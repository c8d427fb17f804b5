"""The tokens view shows what the model's own tokenizer does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nlpipe.inspect import Subject, embeddings, tokens

TEXT = "The bark of the tree, said Zoë's dog: 12 pears!"
SEVEN = ("bert", "roberta", "gpt2", "llama", "bloom", "t5", "bart")
seven = pytest.mark.parametrize("architecture", SEVEN)


@seven
def test_the_ids_are_the_tokenizers_own(folder: Callable[[str], Path], architecture: str) -> None:
    import transformers

    own = transformers.AutoTokenizer.from_pretrained(folder(architecture))
    cut = tokens(folder(architecture), TEXT).cuts[0]
    assert [piece.id for piece in cut.pieces] == own(TEXT)["input_ids"]
    assert [piece.piece for piece in cut.pieces] == own.convert_ids_to_tokens(own(TEXT)["input_ids"])


@seven
def test_places_lead_back_to_the_text(subject: Callable[[str], Subject], architecture: str) -> None:
    cut = tokens(subject(architecture), TEXT).cuts[0]
    assert [word.text for word in cut.words] == [
        "The",
        "bark",
        "of",
        "the",
        "tree",
        ",",
        "said",
        "Zoë's",
        "dog",
        ":",
        "12",
        "pears",
        "!",
    ]
    for word in cut.words:
        own = [cut.pieces[at] for at in word.pieces]
        assert TEXT[word.start : word.end] == word.text
        assert min(p.start for p in own) <= word.start < word.end <= max(p.end for p in own)
    stretches = [TEXT[piece.start : piece.end] for piece in cut.pieces if not piece.special]
    assert all(part == part.strip() for part in stretches if part.strip()), "the space before a word is not the word's"
    bark = cut.words[1]
    assert len(bark.pieces) == 1, "the tiny vocabularies know this word as one token"
    assert cut.pieces[bark.pieces[0]].label == "bark"


def test_special_tokens_are_marked_and_belong_to_no_word(subject: Callable[[str], Subject]) -> None:
    pieces = tokens(subject("bert"), TEXT).cuts[0].pieces
    assert [piece.piece for piece in pieces if piece.special] == ["[CLS]", "[SEP]"]
    assert all(piece.word is None for piece in pieces if piece.special)
    typed = tokens(subject("bert"), "a [MASK] b").cuts[0].pieces
    assert [piece.piece for piece in typed if piece.special] == ["[CLS]", "[SEP]"], "a typed [MASK] is text"


def test_unknown_pieces_are_counted(subject: Callable[[str], Subject]) -> None:
    cut = tokens(subject("bert"), "the tree 𓀀").cuts[0]
    assert cut.unknown == 1
    assert [piece.label for piece in cut.pieces if piece.unknown] == ["𓀀"]


def test_words_and_bytes_stand_beside(subject: Callable[[str], Subject]) -> None:
    own, words, single = tokens(subject("bert"), TEXT).cuts
    assert [piece.label for piece in words.pieces] == [word.text for word in own.words]
    assert words.per_word == 1
    assert bytes(piece.id for piece in single.pieces) == TEXT.encode()
    assert all(piece.id in TEXT[piece.start : piece.end].encode() for piece in single.pieces)
    assert single.per_word > own.per_word > 1
    first = words.pieces[0]
    assert tokens(subject("bert"), "the dog the").cuts[1].pieces[2].id == first.id, "the same word, the same id"


def test_the_pieces_of_one_character_are_told_apart(subject: Callable[[str], Subject]) -> None:
    labels = [piece.label for piece in tokens(subject("gpt2"), "𓀀").cuts[0].pieces]
    assert len(labels) > 1
    assert "𓀀" not in labels


def test_a_tokenizer_without_offsets_finds_its_places(subject: Callable[[str], Subject]) -> None:
    cut = tokens(subject("marian"), "The tree, a bridge").cuts[0]
    assert cut.kind == "SentencePiece"
    assert "".join("The tree, a bridge"[p.start : p.end] for p in cut.pieces if not p.special) == "Thetree,abridge"


def test_a_tokenizer_by_itself_will_do(test_data: Path) -> None:
    cut = tokens(test_data / "models" / "tokenizer-gpt2", "Unbelievably good").cuts[0]
    assert (cut.kind, cut.vocabulary) == ("byte-level BPE", 50257)
    assert [piece.label for piece in cut.pieces] == ["Un", "bel", "iev", "ably", "good"]


def test_a_text_beyond_the_window_is_shown_and_said(subject: Callable[[str], Subject]) -> None:
    found = tokens(subject("bert"), "tree " * 100)
    assert len(found.cuts[0].pieces) == 102
    assert found.notes == (f"the text has 102 tokens; {subject('bert').name} reads 64 at once",)


def test_a_word_that_the_tokenizer_drops_has_no_pieces(minilm: Subject) -> None:
    found = tokens(minilm, "a \u0301 b").cuts[0]
    assert [(word.text, len(word.pieces)) for word in found.words] == [("a", 1), ("\u0301", 0), ("b", 1)]
    assert [item.label for item in embeddings(minilm, "a \u0301 b").items] == ["a", "b"]
