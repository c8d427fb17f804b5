"""Small tokenizers of every kind, trained in memory on made-up lines: what `tiny` puts beside its models.

They have the classes, special tokens and id order of the real ones. They know no model and no architecture.
"""

from __future__ import annotations

import json
import string
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

PIECES = 100  # what a tokenizer learns from the corpus, beyond single characters and the test's words
REPEAT = 200  # how often it reads each such word: more often than any two letters meet in the corpus


def corpus() -> list[str]:
    """The lines all tokenizers are trained on: every printable ASCII character and a few of other scripts."""
    letters = string.ascii_letters + string.digits
    return [
        "The small red fox saw three birds near the old stone bridge.",
        "A quiet river runs under the bridge and into the green valley.",
        "She bought 12 apples, 7 pears and 1 loaf of bread for 9.50 at the market!",
        "Where did the grey cat go? It went home before the rain began.",
        'The captain said: "Turn left at the light, then wait."',
        "On 3 May 2026, at 10:45, the first train left the station (platform 8).",
        "He didn't like the soup; they'd made it with too much salt.",
        "Question: who opened the door? Answer: the old man from the north.",
        "This film was good, the other was bad and the last one was very long.",
        "Zoë's naïve café in Łódź sells crème brûlée, piñata and Straßenkuchen.",
        "Рыжая лиса видит трёх птиц у старого моста.",
        "敏捷的狐狸在桥边看见三只鸟。",
        "速いキツネが橋を渡る。",
        "여우가 다리를 건넌다.",
        "الثعلب يعبر الجسر",
        "השועל חוצה את הגשר",
        "Well done! 🎉 😀 👍 🦊",
        *(letters, letters[::-1], " ".join(string.punctuation)),
    ]


@dataclass(frozen=True)
class _Kind:
    """A kind of tokenizer: its class, how it learns, and its special tokens in the order of the real ids."""

    tokenizer: str
    learns: str  # "wordpiece" | "bytes" | "metaspace" | "unigram"
    first: str
    last: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def _roles(**tokens: str) -> dict[str, Any]:
    return {f"{role}_token": token for role, token in tokens.items()}


_BERT = "[PAD] [UNK] [CLS] [SEP] [MASK]"
_FAIRSEQ = "<s> <pad> </s> <unk>"
_END = "<|endoftext|>"
_BYTES = " ".join(f"<0x{byte:02X}>" for byte in range(256))
_SENTINELS = " ".join(f"<extra_id_{i}>" for i in reversed(range(100)))
_RESERVED = " ".join(f"<unk_{i}>" for i in range(2, 103))
_LANGUAGES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM "
    "ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MODERNBERT = _roles(unk="[UNK]", cls="[CLS]", sep="[SEP]", pad="[PAD]", mask="[MASK]")
_BLOOM = {**_roles(bos="<s>", eos="</s>", unk="<unk>", pad="<pad>"), "padding_side": "left"}
_BOS = {"add_bos_token": True}  # the classes leave it off; the real checkpoints switch it on
_OPT = {**_roles(bos="</s>", eos="</s>", unk="</s>", pad="<pad>"), **_BOS}

_KINDS = {
    "bert": _Kind("BertTokenizer", "wordpiece", _BERT),
    "distilbert": _Kind("DistilBertTokenizer", "wordpiece", _BERT),
    "mpnet": _Kind("MPNetTokenizer", "wordpiece", f"{_FAIRSEQ} [UNK]", "<mask>"),
    "roberta": _Kind("RobertaTokenizer", "bytes", _FAIRSEQ, "<mask>"),
    "modernbert": _Kind("TokenizersBackend", "bytes", _END, "[UNK] [CLS] [SEP] [PAD] [MASK]", _MODERNBERT),
    "gpt2": _Kind("GPT2Tokenizer", "bytes", "", _END),
    "bloom": _Kind("TokenizersBackend", "bytes", "<unk> <s> </s> <pad>", "", _BLOOM),
    "opt": _Kind("GPT2Tokenizer", "bytes", _FAIRSEQ, "", _OPT),
    "qwen2": _Kind("Qwen2Tokenizer", "bytes", "", f"{_END} <|im_start|> <|im_end|>"),
    "llama": _Kind("LlamaTokenizer", "metaspace", f"<unk> <s> </s> {_BYTES}", "", _BOS),
    "gemma": _Kind("GemmaTokenizer", "metaspace", f"<pad> <eos> <bos> <unk> <mask> {_BYTES}", "", _BOS),
    "t5": _Kind("T5Tokenizer", "unigram", "<pad> </s> <unk>", _SENTINELS),
    "albert": _Kind("AlbertTokenizer", "unigram", "<pad> <unk> [CLS] [SEP] [MASK]"),
    "big_bird": _Kind("BigBirdTokenizer", "unigram", "<pad> </s> <s> <unk> [CLS] [SEP] [MASK]"),
    "deberta_v2": _Kind("DebertaV2Tokenizer", "unigram", "[PAD] [CLS] [SEP] [UNK]", "[MASK]"),
    "mbart": _Kind("MBartTokenizer", "unigram", _FAIRSEQ, f"{_LANGUAGES} <mask>"),
    "nllb": _Kind("NllbTokenizer", "metaspace", _FAIRSEQ),  # its class brings the languages
    "pegasus": _Kind("PegasusTokenizer", "unigram", f"<pad> </s> <mask_1> <mask_2> {_RESERVED} <unk>"),
    "marian": _Kind("MarianTokenizer", "unigram", "</s> <unk>", "<pad>"),
}


def build(kind: str, words: Sequence[str], positions: int, folder: Path) -> Any:
    """A tokenizer of transformers that knows the corpus and `words`; only Marian's writes to `folder`."""
    import transformers

    row, known = _KINDS[kind], tuple(sorted(set(words)))
    if kind == "marian":
        return _marian(row, known, positions, folder)
    learned = _unigram(known) if row.learns == "unigram" else _bpe(row.learns, known)
    names = list(dict.fromkeys([*row.first.split(), *learned.pieces, *row.last.split()]))
    ids = {name: index for index, name in enumerate(names)}
    options: dict[str, Any] = {**row.options, "model_max_length": positions}
    if row.tokenizer == "TokenizersBackend":  # the generic class is what its tokenizer.json says
        options["tokenizer_object"] = _byte_level(ids, learned.merges, row.options)
    elif row.learns == "unigram":
        options["vocab"] = [(name, learned.scores.get(name, 0.0)) for name in names]
        options["_spm_precompiled_charsmap"] = learned.charsmap
    else:
        options["vocab"] = ids
        options |= {"merges": learned.merges} if learned.merges else {}
    return getattr(transformers, row.tokenizer)(**options)


def _byte_level(ids: dict[str, int], merges: list[tuple[str, str]], options: Mapping[str, Any]) -> Any:
    """The generic byte-level tokenizer, with [CLS] and [SEP] around a text where the options name them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.BPE(vocab=ids, merges=merges))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if "cls_token" in options:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
        )
    return made


def _marian(row: _Kind, words: tuple[str, ...], positions: int, folder: Path) -> Any:
    """Source and target cut texts differently and share one vocabulary, as in life."""
    import transformers
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    models = {"source.spm": _sentencepiece(words, PIECES), "target.spm": _sentencepiece(words, PIECES // 4)}
    for name, model in models.items():
        (folder / name).write_bytes(model)
    pieces = {piece.piece for model in models.values() for piece in ModelProto.FromString(model).pieces[3:]}
    names = [*row.first.split(), *sorted(pieces), *row.last.split()]
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    files = [str(folder / name) for name in (*models, "vocab.json")]
    with warnings.catch_warnings(action="ignore"):  # it recommends sacremoses
        return transformers.MarianTokenizer(*files, model_max_length=positions)


class _Learned(NamedTuple):
    """What a tokenizer has learnt: pieces in order of id, with merges (BPE) or scores (Unigram)."""

    pieces: list[str]
    merges: list[tuple[str, str]]
    scores: dict[str, float]
    charsmap: bytes  # how Unigram rewrites characters before it cuts: SentencePiece's nmt_nfkc


@cache
def _bpe(learns: str, words: tuple[str, ...]) -> _Learned:
    """Pieces by merging: for the byte-level and metaspace kinds, and for WordPiece.

    The trainers of WordPiece and Unigram in tokenizers 0.23 give another vocabulary in every process. So the
    pieces of WordPiece are those of plain BPE, each as the start of a word and as a continuation.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    if learns == "wordpiece":
        learner.normalizer = normalizers.BertNormalizer()
    learner.pre_tokenizer = {
        "wordpiece": pre_tokenizers.BertPreTokenizer(),
        "bytes": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "metaspace": pre_tokenizers.Metaspace(prepend_scheme="never"),
    }[learns]
    texts = [*corpus(), *(word for word in words for _ in range(REPEAT))]
    texts += [f" {text}" for text in texts]  # many kinds tell a text's first word from the others
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if learns == "bytes" else []
    enough = sum(2 * len(word.encode()) for word in words)  # merges, for a word with and without its space
    size = (len(alphabet) or len(set("".join(texts)))) + PIECES + enough
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    if learns == "wordpiece":
        return _Learned([*pieces, *(f"##{piece}" for piece in pieces if piece.isalnum())], [], {}, b"")
    return _Learned(pieces, [(left, right) for left, right in model["merges"]], {}, b"")


@cache
def _unigram(words: tuple[str, ...]) -> _Learned:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto.FromString(_sentencepiece(words, PIECES))
    scores = {piece.piece: piece.score for piece in model.pieces[3:]}  # after <unk>, <s> and </s>
    return _Learned(list(scores), [], scores, model.normalizer_spec.precompiled_charsmap)


@cache
def _sentencepiece(words: tuple[str, ...], size: int) -> bytes:
    """A SentencePiece Unigram model of every character, about `size` pieces more, and the words.

    The words are put in by hand with the score of the best piece: no other way to cut them can win.
    """
    from sentencepiece import SentencePieceTrainer
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    written, texts = BytesIO(), [*corpus(), *words]
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        vocab_size=len(set("".join(texts))) + size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    model = ModelProto.FromString(written.getvalue())
    best = max(piece.score for piece in model.pieces[3:])
    wanted = {f"▁{form}" for word in words for form in (word, word.lower())}  # ALBERT's class lowers case
    for piece in sorted(wanted - {piece.piece for piece in model.pieces}):
        model.pieces.add(piece=piece, score=best)
    return bytes(model.SerializeToString(deterministic=True))
