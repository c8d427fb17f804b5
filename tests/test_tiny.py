"""The tiny models are what they claim to be: plain folders of the real kinds, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlpipe.errors import UnsupportedError
from nlpipe.testing.tiny import ARCHITECTURES, corpus, family, tiny_model

os.environ.setdefault("HF_HUB_OFFLINE", "1")

CORE = (
    *("bert", "roberta", "distilbert", "bigbird", "modernbert"),
    *("gpt2", "gpt_neo", "bloom", "llama"),
    *("t5", "bart", "marian"),
)
ENCODERS = {*CORE[:5], "electra", "deberta_v2", "albert", "mpnet"}
PAIRS = {"t5", "bart", "marian", "mbart", "pegasus", "nllb"}
NO_PAD = {"gpt2", "gpt_neo", "llama"}
LOWERS = {"bert", "distilbert", "electra", "mpnet", "albert"}
LOSSLESS = {"roberta", "bart", "gpt2", "gpt_neo", "bloom", "opt", "qwen2", "modernbert", "llama", "gemma"}
CLASSES = {
    "bert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "distilbert": "DistilBertTokenizer",
    "bigbird": "BigBirdTokenizer",
    "modernbert": "TokenizersBackend",
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "bloom": "TokenizersBackend",
    "llama": "LlamaTokenizer",
    "t5": "T5Tokenizer",
    "bart": "RobertaTokenizer",
    "marian": "MarianTokenizer",
    "electra": "BertTokenizer",
    "deberta_v2": "DebertaV2Tokenizer",
    "albert": "AlbertTokenizer",
    "mpnet": "MPNetTokenizer",
    "opt": "GPT2Tokenizer",
    "mbart": "MBartTokenizer",
    "pegasus": "PegasusTokenizer",
    "nllb": "NllbTokenizer",
    "gemma": "GemmaTokenizer",
    "qwen2": "Qwen2Tokenizer",
}
WORDS = ("blorp", "zindle", "mivvenut", "frim", "frimmer", "Quax", "жук")
FOREIGN = (
    "👩‍👩‍👧🏳️‍🌈 ok",
    "快速的棕色狐狸",
    "مرحبا بالعالم",
    "שלום עולם",
    "สวัสดี",
    "a\u0301\u200d\u202e\t\x07b",
    "",
)

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
every = pytest.mark.parametrize("architecture", ARCHITECTURES)
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an architecture, made once."""
    root, known = tmp_path_factory.mktemp("tiny"), {}

    def make(architecture: str) -> Path:
        if architecture not in known:
            known[architecture] = tiny_model(architecture, root / architecture, words=WORDS)
        return known[architecture]

    return make


@pytest.fixture(scope="module")
def tokenizer(made: Callable[[str], Path]) -> Load:
    from transformers import AutoTokenizer

    return lambda architecture: AutoTokenizer.from_pretrained(made(architecture), trust_remote_code=False)


@pytest.fixture(scope="module")
def checkpoint(made: Callable[[str], Path]) -> Load:
    """The base checkpoint in its own class, with the loading report."""
    import transformers

    def load(architecture: str) -> Any:
        folder = made(architecture)
        name = json.loads((folder / "config.json").read_text())["architectures"][0]
        return getattr(transformers, name).from_pretrained(folder, output_loading_info=True)

    return load


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def plain(text: str) -> str:
    return "".join(text.lower().split())


def test_names_and_families() -> None:
    assert ARCHITECTURES[: len(CORE)] == CORE
    assert set(ARCHITECTURES) == set(CLASSES)
    for architecture in ARCHITECTURES:
        encoder, pair = architecture in ENCODERS, architecture in PAIRS
        assert family(architecture) == ("encoder" if encoder else "encoder-decoder" if pair else "decoder")


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'gpt2'"):
        tiny_model("gpt-2", tmp_path / "x")
    with pytest.raises(UnsupportedError, match="unknown architecture 'gpt-2'"):
        family("gpt-2")
    assert not (tmp_path / "x").exists()


def test_the_import_is_light() -> None:
    heavy = {"torch", "transformers", "tokenizers", "sentencepiece"}
    code = f"import sys, nlpipe.testing.tiny; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_corpus_has_every_kind_of_character() -> None:
    characters = set("".join(corpus()))
    assert set(string.ascii_letters + string.digits + string.punctuation + " ") <= characters
    assert set("éŁЖы狐速キ여ثע🎉") - {"Ж"} <= characters
    assert corpus() == corpus()


@every
def test_the_folder_is_plain_small_and_float32(made: Callable[[str], Path], architecture: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    folder = made(architecture)
    files = {file.name for file in folder.iterdir()}
    spm = {"source.spm", "target.spm", "vocab.json"}
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} < files
    assert files & {"tokenizer.json", *spm} == (spm if architecture == "marian" else {"tokenizer.json"})
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
    known = {"bigbird": "big_bird", "deberta_v2": "deberta-v2", "nllb": "m2m_100"}
    assert AutoConfig.from_pretrained(folder).model_type == known.get(architecture, architecture)
    model = AutoModel.from_pretrained(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) < 100_000


@every
def test_the_tokenizer_has_its_own_class_and_fits_the_model(
    made: Callable[[str], Path], tokenizer: Load, architecture: str
) -> None:
    tok, config = tokenizer(architecture), json.loads((made(architecture) / "config.json").read_text())
    assert type(tok).__name__ == CLASSES[architecture]
    assert 250 <= len(tok) <= config["vocab_size"] <= 700
    assert max(tok.get_vocab().values()) == len(tok) - 1
    assert tok.model_max_length == 64
    for role in ("bos", "eos", "pad"):
        ours, theirs = getattr(tok, f"{role}_token_id"), config.get(f"{role}_token_id")
        assert theirs == (None if (architecture, role) == ("qwen2", "pad") else ours)


@every
def test_what_is_encoded_can_be_decoded(tokenizer: Load, architecture: str) -> None:
    tok = tokenizer(architecture)
    for line in corpus():
        back = tok.decode(tok(line)["input_ids"], skip_special_tokens=True)
        if line.isascii():
            assert plain(back) == plain(line)
        if architecture in LOSSLESS:
            assert back == line
    assert (tok.tokenize("Fox") == tok.tokenize("fox")) is (architecture in LOWERS)


@every
@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_text_is_tokenised(tokenizer: Load, architecture: str, text: str) -> None:
    tok = tokenizer(architecture)
    ids = tok(text, add_special_tokens=False)["input_ids"]
    assert bool(ids) is bool(text)
    assert all(0 <= index < len(tok) for index in ids)


@every
def test_a_word_is_one_token(tokenizer: Load, architecture: str) -> None:
    tok = tokenizer(architecture)
    for word in WORDS:
        ids = tok(f"the {word} the", add_special_tokens=False)["input_ids"]
        around = tok("the the", add_special_tokens=False)["input_ids"]
        assert len(ids) == len(around) + 1, (word, tok.convert_ids_to_tokens(ids))


@every
def test_a_pad_token_is_there_where_it_is_in_life(tokenizer: Load, architecture: str) -> None:
    assert (tokenizer(architecture).pad_token is None) is (architecture in NO_PAD)


@every
def test_the_same_seed_gives_the_same_bytes(made: Callable[[str], Path], tmp_path: Path, architecture: str) -> None:
    import torch

    state = torch.get_rng_state()
    again = tiny_model(architecture, tmp_path / "again", words=WORDS[::-1])
    other = tiny_model(architecture, tmp_path / "other", words=WORDS, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert digests(again) == digests(made(architecture))
    different = {name for name, digest in digests(other).items() if digest != digests(again)[name]}
    assert different == {"model.safetensors"}


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(made: Callable[[str], Path], tmp_path: Path) -> None:
    chosen = ("bert", "gpt2", "llama", "t5", "marian")  # one for each way of learning a tokenizer
    code = f"""
from pathlib import Path
from nlpipe.testing.tiny import tiny_model
for name in {chosen}:
    tiny_model(name, Path({str(tmp_path)!r}) / name, words={WORDS})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for name in chosen:
        assert digests(tmp_path / name) == digests(made(name))


@every
def test_the_checkpoint_is_whole_and_a_head_is_missing(
    made: Callable[[str], Path], checkpoint: Load, architecture: str
) -> None:
    from transformers import AutoModelForSequenceClassification

    _, info = checkpoint(architecture)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    if architecture in {"marian", "nllb", "pegasus"}:  # transformers has no such class
        return
    _, info = AutoModelForSequenceClassification.from_pretrained(made(architecture), output_loading_info=True)
    heads = ("classifier.", "score.", "classification_head.", "pre_classifier.", "pooler.", "head.")
    assert info["missing_keys"]
    assert all(any(head in f"{key}." for head in heads) for key in info["missing_keys"])


@every
def test_the_longest_input_gives_finite_outputs(checkpoint: Load, architecture: str) -> None:
    import torch

    model, _ = checkpoint(architecture)
    ids = torch.randint(5, 200, (2, 64), generator=torch.Generator().manual_seed(0))
    extra = {"decoder_input_ids": ids} if architecture in PAIRS else {}
    with torch.no_grad():
        logits = model(input_ids=ids, **extra).logits
    assert logits.shape == (2, 64, model.config.vocab_size)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0.01


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in ENCODERS])
def test_what_can_generate_generates(tokenizer: Load, checkpoint: Load, architecture: str) -> None:
    model, _ = checkpoint(architecture)
    ids = tokenizer(architecture)("the fox", return_tensors="pt")["input_ids"]
    out = model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert out.shape[1] == 4 + (1 if architecture in PAIRS else ids.shape[1])


def test_bert_and_distilbert_give_the_inputs_their_models_take(tokenizer: Load) -> None:
    assert "token_type_ids" in tokenizer("bert")("a", "b")
    assert "token_type_ids" not in tokenizer("distilbert")("a", "b")


def test_llama_begins_with_s_and_falls_back_to_bytes(tokenizer: Load) -> None:
    tok = tokenizer("llama")
    tokens = tok.convert_ids_to_tokens(tok("a ฿")["input_ids"])
    assert tokens == ["<s>", "▁a", "▁", "<0xE0>", "<0xB8>", "<0xBF>"]


def test_t5_has_its_sentinels_and_a_closing_token(tokenizer: Load) -> None:
    tok = tokenizer("t5")
    ids = tok("<extra_id_0> fox <extra_id_99>")["input_ids"]
    assert (ids[0], ids[-2], ids[-1]) == (len(tok) - 1, len(tok) - 100, tok.eos_token_id)
    assert tok("ﬁre…")["input_ids"] == tok("fire...")["input_ids"]  # SentencePiece's nmt_nfkc


def test_marian_has_two_sides_and_no_offsets(tokenizer: Load) -> None:
    tok = tokenizer("marian")
    text = "The captain said nothing to the old station."
    source, target = tok(text)["input_ids"], tok(text_target=text)["input_ids"]
    assert source != target
    assert plain(tok.decode(target, skip_special_tokens=True)) == plain(text)
    assert "offset_mapping" not in tok(text, return_offsets_mapping=True)
    assert tok.pad_token_id == len(tok) - 1


def test_bigbird_is_in_full_attention(made: Callable[[str], Path]) -> None:
    assert json.loads((made("bigbird") / "config.json").read_text())["attention_type"] == "original_full"


@every
def test_positions_can_be_set(tmp_path: Path, architecture: str) -> None:
    config = json.loads((tiny_model(architecture, tmp_path, positions=32) / "config.json").read_text())
    said = config.get("max_position_embeddings", config.get("n_positions"))
    offset = 2 if architecture in {"roberta", "mpnet"} else 0
    assert said == (None if architecture in {"t5", "bloom"} else 32 + offset)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 32
