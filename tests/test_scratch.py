"""Models from scratch: what a recipe may say of them, tokenizers that lose nothing, and folders that stand alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlpipe
from nlpipe import RecipeError, upstream, vocabulary
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe, build
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.testing.tiny import corpus
from nlpipe.vocabulary import Wish

TEXTS = [*corpus() * 3, *(text for text, _ in rules.copied(200, seed=1))]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WISHES = {
    "bpe": Wish("bpe", 400, ("<pad>", "</s>")),
    "wordpiece": Wish("wordpiece", 400, SPECIAL, unknown="[UNK]"),
    "unigram": Wish("unigram", 500, ("<pad>", "</s>", "<unk>"), ("<extra_id_0>",), unknown="<unk>"),
}

TINY: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "bart": {
        **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64},
    },
}
TINY["llama"] = {**TINY["bert"], "num_key_value_heads": 2, "max_position_embeddings": 64}
TINY["roberta"] = {**TINY["bert"], "max_position_embeddings": 66}
TINY["marian"] = TINY["bart"]


# Tokenizers


@pytest.mark.parametrize("kind", WISHES)
def test_a_tokenizer_reads_back_what_it_was_given(kind: str) -> None:
    made = vocabulary.learn(TEXTS, WISHES[kind])
    assert made.get_vocab_size() <= WISHES[kind].size
    assert [made.token_to_id(token) for token in WISHES[kind].special] == list(range(len(WISHES[kind].special)))
    for text in ("the old stone bridge", "ba be bi", "unheard"):
        assert made.decode(made.encode(text).ids).strip() == text
    assert len(made.encode("bridge").ids) < len("bridge")  # something was learnt


@given(st.text(max_size=40))
def test_bytes_and_byte_fallback_know_every_character(text: str) -> None:
    import unicodedata

    made = _learnt("bpe")
    assert (
        made.decode(made.encode(text).ids, skip_special_tokens=False).strip()
        == unicodedata.normalize("NFC", text).strip()
    )
    other = _learnt("unigram")
    assert other.token_to_id("<unk>") not in other.encode(text).ids


_MADE: dict[str, Any] = {}


def _learnt(kind: str) -> Any:
    if kind not in _MADE:
        _MADE[kind] = vocabulary.learn(TEXTS, WISHES[kind])
    return _MADE[kind]


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    """In one that hashes otherwise: a set has another order there."""
    code = (
        "import hashlib; from nlpipe.vocabulary import Wish, learn;"
        f"texts, wishes = {TEXTS!r}, {[*WISHES.values()]!r};"
        "print([hashlib.sha256(learn(texts, wish).to_str().encode()).hexdigest() for wish in wishes])"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = [hashlib.sha256(_learnt(kind).to_str().encode()).hexdigest() for kind in WISHES]
    assert len(here) == 3 and str(here) == elsewhere.strip()


def test_continuations_are_marked_once() -> None:
    names = _learnt("wordpiece").get_vocab()
    assert "##e" in names and any(name.startswith("##") and len(name) > 3 for name in names)
    assert not any(ord(letter) >= 0xF0000 or "##" in name[2:] for name in names for letter in name)


def test_a_tokenizer_without_room_or_texts_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"vocab_size is 200, and 2 special tokens and 256 single"):
        vocabulary.learn(TEXTS, Wish("bpe", 200, ("<pad>", "</s>")))
    with pytest.raises(nlpipe.DataError, match="no text to learn a tokenizer from"):
        vocabulary.learn(["", " "], WISHES["bpe"])


# Recipes


def settings(new: Any, tokenizer: Any = None, **rest: Any) -> dict[str, Any]:
    model = {"new": new, "tokenizer": tokenizer or {"type": "bpe", "vocab_size": 400}}
    return {"task": "generation", "model": model, "data": {"train": "t.jsonl"}, "train": {}, **rest}


@pytest.mark.parametrize(
    ("wrong", "key", "words"),
    [
        (settings({"model_type": "lama"}), "model.new.model_type", "knows no 'lama'; did you mean 'llama'?"),
        (settings({}), "model.new.model_type", "is missing"),
        (settings({"model_type": "bert", "hiden_size": 8}), "model.new.hiden_size", "did you mean 'hidden_size'?"),
        (settings({"model_type": "bert", "hidden_size": "8"}), "model.new.hidden_size", "expected int"),
        (settings({"model_type": "bert", "pad_token_id": 3}), "model.new.pad_token_id", "the tokenizer decides it"),
        (
            settings({"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}),
            "model.new",
            "makes no llama: The hidden size (30) is not a multiple",
        ),
        (settings({"model_type": "gpt2"}, adapter={}), "adapter", "needs a pretrained model"),
        (settings({"model_type": "gpt2"}, {"type": "bpe"}), "model.tokenizer.vocab_size", "is missing"),
        (settings({"model_type": "gpt2"}, {"type": "bpee", "vocab_size": 9}), "model.tokenizer.type", "did you mean"),
        (settings({"model_type": "gpt2"}, train=None, data={"test": "x"}), "train", "a new model knows nothing"),
        ({**settings({}), "model": {"backbone": "x", "tokenizer": "y"}}, "model.tokenizer", "a backbone has its own"),
        (
            {**settings({}), "model": {"backbone": "x", "new": {"model_type": "t5"}, "tokenizer": "y"}},
            "model.new",
            "stands beside model.backbone",
        ),
        ({**settings({}), "model": {"new": {"model_type": "t5"}}}, "model.tokenizer", "is missing; a new model needs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_new_model_is_refused_where_it_stands(wrong: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(wrong, Plugins.discover().tasks)
    found = {problem.key: problem.message for problem in error.value.problems}
    assert words in found.get(key, ""), found


def test_all_that_is_wrong_with_a_new_model_comes_at_once() -> None:
    with pytest.raises(RecipeError) as error:
        build(
            settings({"model_type": "bert", "hiden_size": 8, "vocab": 3, "num_hidden_layers": 2}),
            Plugins.discover().tasks,
        )
    assert {problem.key for problem in error.value.problems} == {"model.new.hiden_size", "model.new.vocab"}


# Models


def pairs(rows: int, seed: int) -> list[dict[str, str]]:
    return [{"prompt": a, "completion": b} for a, b in rules.copied(rows, seed=seed, shortest=2, longest=3)]


def scratch(out: Path, kind: str, tokenizer: Any, **changes: Any) -> Recipe:
    sections: dict[str, Any] = {
        "task": {"name": "generation", "options": {"template": "{prompt} :"}},
        "model": {"new": {"model_type": kind, **TINY[kind]}, "tokenizer": tokenizer},
        "data": {"train": pairs(64, 1), "test": pairs(6, 2)},
        "train": {"steps": 3, "batch_size": 8, "learning_rate": 1e-3},
        "generation": {"max_new_tokens": 8},
        "evaluate": {"bootstrap": 0},
        "run": {"threads": 1},
        "output": {"dir": str(out)},
    }
    return Recipe(**(sections | changes))


LEARNT = {"bpe": {"type": "bpe", "vocab_size": 400}, "unigram": {"type": "unigram", "vocab_size": 420}}
CASES = [
    ("t5", LEARNT["unigram"]),
    ("bart", LEARNT["bpe"]),
    ("marian", LEARNT["bpe"]),
    ("gpt2", LEARNT["bpe"]),
    ("llama", LEARNT["unigram"]),
    ("bert", {"type": "wordpiece", "vocab_size": 300, "lowercase": True}),
]


@pytest.mark.parametrize(("kind", "tokenizer"), CASES, ids=[kind for kind, _ in CASES])
def test_every_family_is_made_trained_and_loaded_again(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    report = run(scratch(tmp_path / "run", kind, tokenizer))
    assert report.model is not None
    pipe = nlpipe.load(report.model)
    again = [result.text for result in pipe([row["prompt"] for row in pairs(6, 2)])]
    assert again == [result.text for result in report.results]  # type: ignore[attr-defined]
    tok = pipe.tokenizers.source
    assert type(tok.upstream).__name__ in {"PreTrainedTokenizerFast", "TokenizersBackend"}
    assert tok.decode(tok.encode("Ba be").ids).strip() in {"Ba be", "ba be"}
    assert pipe.card.backbone.name == f"new {kind}"
    config = upstream.read_config(report.model)
    assert config.pad_token_id == tok.pad_id != tok.end_id


def test_an_answer_begins_as_those_that_were_learnt(tmp_path: Path) -> None:
    """The space that the tokenizer puts in front of every text is none of the answer's."""
    rows = [{"prompt": "ba be", "completion": "bi"}] * 8
    changes = {"task": "generation", "data": {"train": rows, "test": rows[:1]}}
    train = {"steps": 30, "batch_size": 8, "learning_rate": 1e-2}
    report = run(scratch(tmp_path / "run", "bart", LEARNT["bpe"], train=train, **changes))
    assert report.model is not None
    pipe = nlpipe.load(report.model)
    assert pipe.tokenizers.target.spaced
    assert pipe("ba be").text == "".join(pipe.stream("ba be")) == "bi"


def test_the_same_recipe_makes_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        train = {"steps": 1, "batch_size": 8, "seed": seed}
        report = run(scratch(tmp_path / name, "gpt2", LEARNT["bpe"], train=train))
        assert report.model is not None
        return (report.model / "model.safetensors").read_bytes()

    assert weights("a", 1) == weights("b", 1) != weights("c", 2)


def test_a_tokenizer_given_is_taken_as_it_is(tmp_path: Path) -> None:
    first = run(scratch(tmp_path / "first", "t5", LEARNT["unigram"]))
    assert first.model is not None
    second = run(scratch(tmp_path / "second", "bart", str(first.model)))
    assert second.model is not None
    ours, theirs = nlpipe.load(first.model).tokenizers.source, nlpipe.load(second.model).tokenizers.source
    assert ours.upstream.get_vocab() == theirs.upstream.get_vocab()
    assert nlpipe.load(second.model).tokenizers.start == (ours.pad_id,)


def test_sizes_that_do_not_fit_each_other_say_what_transformers_says(tmp_path: Path) -> None:
    made = scratch(tmp_path / "run", "bert", LEARNT["bpe"])
    new = {**(made.model.new or {}), "num_attention_heads": 5}
    model = made.model.model_copy(update={"new": new})
    with pytest.raises(RecipeError, match="not a multiple"):
        run(made.model_copy(update={"model": model}))
    assert not (tmp_path / "run").exists()


def test_wordpiece_writes_nothing_that_could_be_read(tmp_path: Path) -> None:
    with pytest.raises(nlpipe.UnsupportedError, match="wordpiece does not keep how a text is spaced"):
        run(scratch(tmp_path / "run", "gpt2", {"type": "wordpiece", "vocab_size": 300}))


def test_a_new_encoder_serves_a_task_with_a_head(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in rules.first_keyword(64, seed=1)]
    made = scratch(
        tmp_path / "run", "roberta", LEARNT["bpe"], task="classification", data={"train": rows}, generation={}
    )
    report = run(made)
    assert report.model is not None
    assert nlpipe.load(report.model)("ba north").label in rules.KEYWORDS
