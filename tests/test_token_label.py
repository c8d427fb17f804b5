"""TokenLabel: words and their tokens, windows between words, weights, joining, and attention to both sides."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nlpipe import backbone, tensors, upstream
from nlpipe.backbone import Backbone, HeadedModel
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.locating import Location
from nlpipe.objectives import SequenceLabel, TokenLabel
from nlpipe.objectives.base import Text, Window, Words, WordScores
from nlpipe.objectives.token_label import Reading
from nlpipe.objectives.words import locate, ranges
from nlpipe.runners.torch import TorchRunner
from nlpipe.testing.odd import odd_texts
from nlpipe.testing.tiny import ARCHITECTURES, family
from nlpipe.tokens import Tokenizer
from tests.support import tiny

LABELS = ("O", "B-x", "I-x")
OBJECTIVE = TokenLabel(labels=LABELS, window=Window(max_length=64))
QUICK = ("bert", "gpt2", "t5", "marian", "gpt_neo", "bloom")
CLOSED = {"gpt_neo": "without what follows", "bloom": "know where in the text"}
EVERY = pytest.mark.parametrize(
    "architecture", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ARCHITECTURES]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def tokenizer(architecture: str, folder: Path) -> Tokenizer:
    location = Location("tiny", tiny(architecture, folder))
    return backbone.tokenizers(location, upstream.read_config(location.folder)).source


def loaded(architecture: str, folder: Path, **options: Any) -> Backbone:
    return backbone.load(Location("tiny", tiny(architecture, folder)), OBJECTIVE, **options)


def split(text: str) -> tuple[tuple[int, int], ...]:
    """Words by a rule of this file: runs of letters and digits, and every other visible character."""
    found: list[tuple[int, int]] = []
    for at, character in enumerate(text):
        if character.isspace():
            continue
        grows = found and found[-1][1] == at and character.isalnum() and text[at - 1].isalnum()
        found[-1:] = [(found[-1][0], at + 1)] if grows else [*found[-1:], (at, at + 1)]
    return tuple(found)


def words(text: str) -> Words:
    return Words(text, split(text))


@EVERY
def test_no_token_has_two_words(architecture: str, folder: Path) -> None:
    tok = tokenizer(architecture, folder)
    for text in [*odd_texts(150, seed=1), "don't can't I've... '''t", "北京大学 hello,world"]:
        found = locate(text, split(text), tok)
        there = sorted(at for at in found.words if at is not None)
        assert all(start < end <= len(found.ids) for start, end in there)
        assert all(one[1] <= two[0] for one, two in pairwise(there)), text
        assert [at for at in found.words if at] == there  # in the order of the text
        inside = {at for start, end in there for at in range(start + 1, end)}
        assert found.borders == [at for at in range(len(found.ids) + 1) if at not in inside]


@EVERY
def test_words_have_their_own_tokens(architecture: str, folder: Path) -> None:
    """Known words are a token each, so that each word's first token is the word's own id, wherever it stands."""
    tok = tokenizer(architecture, folder)
    text = "ba north ge  south\tba"
    found = locate(text, split(text), tok)
    ids = [found.ids[at[0] : at[1]] for at in found.words if at]
    assert len(ids) == 5
    assert all(ids)
    assert ids[1] == locate("ge north", ((0, 2), (3, 8)), tok).ids[-len(ids[1]) :]
    assert ids[1] != ids[3] != ids[2] != ids[1]


def test_a_token_of_two_words_is_parted(folder: Path) -> None:
    tok = tokenizer("gpt2", folder)
    text = "say north,south"  # the words as (north,) and (south), then cut within a token
    whole = locate(text, ((0, 3), (4, 9), (9, 10), (10, 15)), tok)
    assert whole.ids == tok.encode(text).ids
    parted = locate(text, ((0, 3), (4, 6), (6, 9), (9, 10), (10, 15)), tok)
    assert parted.ids != whole.ids
    (start, end), (after, _) = parted.words[1], parted.words[2]  # type: ignore[misc]
    assert parted.ids[start:end] == tok.encode(" no").ids
    assert after == end
    last = parted.words[4]
    assert last is not None
    assert parted.ids[last[0] : last[1]] == tok.encode(text).ids[-(last[1] - last[0]) :]


def test_without_offsets_words_are_encoded_one_by_one(folder: Path) -> None:
    tok = tokenizer("marian", folder)
    assert tok.encode("ba").offsets is None
    text = "ba don't \u200b north"
    spans = split(text)
    found = locate(text, spans, tok)
    assert found.ids == [token for start, end in spans for token in tok.encode(text[start:end]).ids]


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=60)


@given(SIZES, st.integers(12, 20), st.integers(0, 6))
def test_windows_cover_all_and_split_no_word(sizes: list[int], room: int, overlap: int) -> None:
    borders = [0, *np.cumsum(sizes).tolist()]
    tokens = borders[-1]
    found = list(ranges(tokens, room, overlap, borders))
    assert found[0][0] == 0
    assert found[-1][1] == tokens
    for (start, end), (after, beyond) in pairwise(found):
        shared = max(end - overlap, start + 1)
        assert start < after <= end
        # Neighbours share the overlap, unless a window that begins there would have to cut a word.
        early = min(border for border in borders if border > end) - room
        assert after <= shared or not any(start < border <= shared and border >= early for border in borders)
        assert end < beyond
    for start, end in found:
        assert end - start <= room
        assert {start, end} <= set(borders)
    whole = {(s, e) for s, e in pairwise(borders) for a, z in found if a <= s and e <= z}
    assert len(whole) == len(sizes)


@given(st.integers(1, 300), st.integers(2, 20), st.integers(0, 19))
def test_a_word_longer_than_a_window_is_cut(tokens: int, room: int, overlap: int) -> None:
    overlap = min(overlap, room - 1)
    found = list(ranges(tokens, room, overlap, [0, tokens]))
    assert all(end - start <= room for start, end in found)
    assert {at for start, end in found for at in range(start, end)} == set(range(tokens))
    assert len(found) <= tokens


def encode(folder: Path, text: str, gold: Any = None, **window: Any) -> Any:
    tok = tokenizer("bert", folder)
    both = SimpleNamespace(source=tok, target=tok)
    return replace(OBJECTIVE, window=Window(**{"max_length": 64, **window})).encode(words(text), gold, both)  # type: ignore[arg-type]


def test_a_words_weights_sum_to_one(folder: Path) -> None:
    text = "ba be bigbug north " * 30
    gold = [None if at % 7 == 0 else at % 3 for at in range(120)]
    rows = encode(folder, text, gold, max_length=20, overlap=6)
    assert len(rows) > 10
    sums = np.zeros(120)
    for row in rows:
        at = {reading.position: reading.word for reading in row.place}
        for target in row.target:
            sums[at[target.position]] += target.weight
            assert target.label == gold[at[target.position]]
    np.testing.assert_allclose(sums, [0.0 if label is None else 1.0 for label in gold])
    tok = SimpleNamespace(source=tokenizer("bert", folder))
    batch = OBJECTIVE.collate(rows, tok, answering=False, rng=None).to("cpu")  # type: ignore[arg-type]
    assert batch.terms == pytest.approx(sum(label is not None for label in gold))


def test_the_loss_is_cross_entropy_at_first_tokens(folder: Path) -> None:
    base = loaded("bert", folder)
    text = "bigbug ba bigbig"  # the first and the last word have several tokens
    rows = OBJECTIVE.encode(words(text), [1, None, 2], base.tokenizers)
    batch = OBJECTIVE.collate(rows, base.tokenizers, answering=False, rng=None).to("cpu")  # type: ignore[arg-type]
    outputs = OBJECTIVE.compute(base.model.eval(), batch)
    logits = outputs["logits"][0]
    at = [reading.position for reading in rows[0].place]
    assert at[0] == 1  # behind [CLS]
    assert at[1] > 2
    by_hand = -(logits[at[0]].log_softmax(0)[1] + logits[at[2]].log_softmax(0)[2])
    assert OBJECTIVE.loss(outputs, batch).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert batch.terms == 2.0


def test_rows_without_a_word_have_no_loss(folder: Path) -> None:
    base = loaded("bert", folder)
    rows = [row for text in ("", " \t") for row in OBJECTIVE.encode(words(text), [], base.tokenizers)]
    batch = OBJECTIVE.collate(rows, base.tokenizers, answering=False, rng=None).to("cpu")  # type: ignore[arg-type]
    loss = OBJECTIVE.loss(OBJECTIVE.compute(base.model, batch), batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert (float(loss.detach()), batch.terms) == (0.0, 0.0)


def test_a_shared_word_takes_the_scores_with_more_context(folder: Path) -> None:
    rows = encode(folder, "ba be bi bo bu da de di do du ga ge", max_length=10, overlap=4)
    assert [[reading.word for reading in row.place] for row in rows] == [list(range(8)), list(range(4, 12))]
    raws = [np.full((len(row.place), 3), float(-index)) for index, row in enumerate(rows)]
    answer = OBJECTIVE.join(words("ba be bi bo bu da de di do du ga ge"), rows, raws)
    assert isinstance(answer, WordScores)
    # Words 4 and 5 have more behind them in the first window, 6 and 7 more before them in the second.
    assert answer.values[:, 1].tolist() == [0.0] * 6 + [-1.0] * 6


def test_context_ends_at_the_window_not_at_the_text(folder: Path) -> None:
    first, last = encode(folder, "ba be bi bo bu da", max_length=6, overlap=2)
    assert first.place[0] == Reading(0, 1, 3)  # the text begins here, so only what follows is cut off: 3 tokens
    assert [r.context for r in first.place] == [3, 2, 1, 0]
    assert [(r.word, r.context) for r in last.place] == [(2, 0), (3, 1), (4, 2), (5, 3)]


def test_a_word_without_a_token_carries_the_background(folder: Path) -> None:
    text = "ba \x07 be"  # BERT's tokenizer drops control characters
    query = Words(text, ((0, 2), (3, 4), (5, 7)))
    base = loaded("bert", folder)
    objective = replace(OBJECTIVE, labels=("B-x", "I-x", "O"), background=2)
    rows = objective.encode(query, [0, 1, 2], base.tokenizers)
    assert [reading.word for reading in rows[0].place] == [0, 2]
    batch = objective.collate(rows, base.tokenizers, answering=True, rng=None).to("cpu")  # type: ignore[arg-type]
    answer = objective.join(query, rows, objective.predict(TorchRunner(base.model), batch, {}))
    assert answer.values[1].tolist() == [-np.inf, -np.inf, 0.0]
    np.testing.assert_allclose(np.exp(answer.values).sum(axis=1), 1.0)
    assert answer.spans == query.words


def test_long_text_by_name(folder: Path) -> None:
    text = "ba bigbugbig " * 40
    with pytest.raises(DataError, match="model reads 20"):
        encode(folder, text, max_length=20, long="error")
    (row,) = encode(folder, text, max_length=20, long="truncate")
    read, there = row.seen
    assert read <= 18 < there
    assert read == row.length - 2
    last = row.place[-1]
    assert last.word + 1 == len(row.place)  # and the rest has no scores
    answer = OBJECTIVE.join(words(text), [row], [np.log(np.full((len(row.place), 3), 1 / 3))])
    assert (answer.values[last.word + 1 :, 0] == 0).all()
    rows = encode(folder, text, max_length=20, overlap=4)
    assert {reading.word for row in rows for reading in row.place} == set(range(80))
    assert rows[0].seen == (there, there)


def test_options_of_training() -> None:
    assert OBJECTIVE.with_training({"label_smoothing": 0.1}).label_smoothing == 0.1
    with pytest.raises(UnsupportedError, match=r"train\.shape does nothing for TokenLabel"):
        OBJECTIVE.with_training({"shape": "balanced"})


def test_label_smoothing_changes_the_loss(folder: Path) -> None:
    base = loaded("bert", folder)
    smooth = replace(OBJECTIVE, label_smoothing=0.3)
    rows = OBJECTIVE.encode(words("ba be"), [0, 1], base.tokenizers)
    batch = OBJECTIVE.collate(rows, base.tokenizers, answering=False, rng=None).to("cpu")  # type: ignore[arg-type]
    outputs = OBJECTIVE.compute(base.model.eval(), batch)
    logits = outputs["logits"][batch.targets["row"], batch.targets["position"]]
    wanted = tensors.label_loss(logits, batch.targets["label"], weight=None, smoothing=0.3).sum()
    assert float(smooth.loss(outputs, batch)) == pytest.approx(float(wanted))
    assert float(smooth.loss(outputs, batch)) != pytest.approx(float(OBJECTIVE.loss(outputs, batch)))


# The head, and attention to both sides.


@EVERY
def test_only_the_head_is_new(architecture: str, folder: Path) -> None:
    """The states that are read come from the checkpoint, in an encoder-decoder from its encoder."""
    base = loaded(architecture, folder, attention="causal" if architecture in CLOSED else "auto")
    assert base.fresh in {("classifier",), ("score",), ("head",)}
    own = architecture in {"bart", "mbart", "marian", "pegasus", "opt"}
    assert (base.head == "nlpipe") == own == isinstance(base.model, HeadedModel)
    rows = [row for text in ("ba be", "ba north ge") for row in OBJECTIVE.encode(words(text), None, base.tokenizers)]
    batch = OBJECTIVE.collate(rows, base.tokenizers, answering=True, rng=None).to("cpu")  # type: ignore[arg-type]
    logits = OBJECTIVE.compute(base.model.eval(), batch)["logits"]
    assert logits.shape == (2, max(row.length for row in rows), 3)
    assert not torch.equal(logits[0, 0], logits[0, 1])  # each token has its own
    if family(architecture) == "encoder-decoder":
        whole: Any = upstream.load_model(
            None, base.location.folder, upstream.read_config(base.location.folder), torch.float32
        )[0]
        states = whole.eval().get_encoder()(**batch.inputs).last_hidden_state
        head: Any = base.model.get_submodule(base.fresh[0])
        torch.testing.assert_close(head(states), logits)


@EVERY
def test_decoders_see_both_sides(architecture: str, folder: Path) -> None:
    if architecture in CLOSED:
        with pytest.raises(
            UnsupportedError, match=rf"{architecture}.*{CLOSED[architecture]}.*model\.attention: causal"
        ):
            loaded(architecture, folder)
        assert loaded(architecture, folder, attention="causal").attention == "causal"
        return
    base = loaded(architecture, folder)
    decoder = family(architecture) == "decoder"
    assert base.attention == ("opened" if decoder else "auto")
    assert moves(base)
    if decoder:
        left = loaded(architecture, folder, attention="causal")
        assert left.attention == "causal"
        assert not moves(left)


def moves(base: Backbone) -> bool:
    """Whether the first word's scores depend on the last word."""
    found = []
    for text in ("ba be north", "ba be south"):
        rows = OBJECTIVE.encode(words(text), None, base.tokenizers)
        batch = OBJECTIVE.collate(rows, base.tokenizers, answering=True, rng=None).to("cpu")  # type: ignore[arg-type]
        found.append(OBJECTIVE.predict(TorchRunner(base.model), batch, {})[0][0])
    return not np.array_equal(*found)


def test_a_sequence_label_leaves_a_decoder_causal(folder: Path) -> None:
    objective = SequenceLabel(labels=LABELS)
    base = backbone.load(Location("tiny", tiny("gpt2", folder)), objective)
    assert base.attention == "auto"
    assert getattr(base.model.config, "is_causal", None) is not False
    assert objective.encode(Text("ba"), None, base.tokenizers)


def test_padding_stays_unseen_where_attention_is_open(folder: Path) -> None:
    for architecture in ("gpt2", "opt", "llama", "qwen2", "gemma"):
        base = loaded(architecture, folder)
        short, long = (OBJECTIVE.encode(words(t), None, base.tokenizers)[0] for t in ("ba be", "ba " * 30))
        alone, beside = (
            OBJECTIVE.predict(
                TorchRunner(base.model), OBJECTIVE.collate(rows, base.tokenizers, answering=True, rng=None), {}
            )[0]  # type: ignore[arg-type]
            for rows in ([short], [short, long])
        )
        np.testing.assert_allclose(alone, beside, atol=1e-5)
