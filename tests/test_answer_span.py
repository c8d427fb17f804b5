"""AnswerSpan: characters and tokens, windows over the context, the loss, and joining windows."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import backbone, batching, upstream
from nlpipe.errors import DataError
from nlpipe.locating import Location
from nlpipe.objectives import AnswerSpan
from nlpipe.objectives.answer_span import BEST, Place
from nlpipe.objectives.base import Passage, Row, Window
from nlpipe.objectives.passages import read, words_in
from nlpipe.testing.odd import odd_texts
from nlpipe.testing.tiny import ARCHITECTURES
from nlpipe.tokens import Tokenizers
from tests.support import tiny

OBJECTIVE = AnswerSpan(window=Window(max_length=64))
QUICK = ("bert", "gpt2", "t5", "marian", "bloom", "llama")
EVERY = pytest.mark.parametrize(
    "architecture", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ARCHITECTURES]
)
LONG = " ".join(f"ba be bi {word}" for word in ("north", "south", "ge", "go", "gu", "ka", "ke", "ki", "ko", "ku"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def tokenizers(architecture: str, folder: Path) -> Tokenizers:
    location = Location("tiny", tiny(architecture, folder))
    return backbone.tokenizers(location, upstream.read_config(location.folder))


@EVERY
def test_tokens_know_their_characters(architecture: str, folder: Path) -> None:
    tok = tokenizers(architecture, folder).source
    for text in odd_texts(100, seed=1):
        context = read(text, tok)
        assert len(context.ids) == len(context.spans)
        for span in context.spans:
            if span is not None:
                assert 0 <= span[0] < span[1] <= len(text)
                assert text[slice(*span)] == text[slice(*span)].strip()
    assert [LONG[slice(*span)] for span in read(LONG, tok).spans if span] == LONG.split()


def test_words_of_scripts_with_and_without_spaces() -> None:
    text = "Don't e\u0301a 北京 हिन्दी\u200b3.5"
    assert [text[slice(*span)] for span in words_in(text)] == [
        *("Don", "'", "t", "e\u0301a", "北", "京", "हिन्दी", "3", ".", "5")
    ]


@EVERY
def test_windows_have_the_whole_question_and_all_of_the_context(architecture: str, folder: Path) -> None:
    tok = tokenizers(architecture, folder)
    question, context = tok.source.encode("north").ids, read(LONG, tok.source)
    objective = replace(OBJECTIVE, window=Window(max_length=20))
    answer = LONG.index("ka")
    rows = objective.encode(Passage("north", LONG), ((answer, answer + 2),), tok)
    assert len(rows) > 2
    covered: set[tuple[int, int]] = set()
    starts = []
    for row in rows:
        before = len(tok.source.pair.prefix)
        assert row.ids[before : before + len(question)] == question
        assert len(row.ids) <= 20
        inner = row.ids[row.place.first : row.place.first + len(row.place.spans)]
        at = context.spans.index(row.place.spans[0])
        assert inner == context.ids[at : at + len(inner)]
        covered |= set(row.place.spans)
        starts.append((at, at + len(inner)))
        has = (answer, answer + 2) in row.place.spans
        assert (row.target != (0, 0)) == has
        if has:
            assert row.ids[row.target[0]] == context.ids[context.spans.index((answer, answer + 2))]
    room = starts[0][1]
    assert all(one[1] - two[0] == room // 4 for one, two in pairwise(starts))
    assert covered == set(context.spans)
    assert sum(row.weight for row in rows) == pytest.approx(1)
    assert rows[0].seen == (len(question) + len(context.ids),) * 2


def test_a_question_without_room_for_the_context_is_refused(folder: Path) -> None:
    tok = tokenizers("bert", folder)
    objective = replace(OBJECTIVE, window=Window(max_length=10))
    with pytest.raises(DataError, match=r"question has 7 tokens.*reads 10 at once.*model\.max_length"):
        objective.encode(Passage("ba " * 7, LONG), None, tok)
    with pytest.raises(DataError, match="4 shared by neighbouring windows"):
        replace(OBJECTIVE, window=Window(max_length=10, overlap=4)).encode(Passage("ba ba ba", LONG), None, tok)
    assert objective.encode(Passage("ba " * 6, LONG), None, tok)


def test_long_may_refuse_or_cut(folder: Path) -> None:
    tok = tokenizers("bert", folder)
    with pytest.raises(DataError, match="44 tokens"):
        replace(OBJECTIVE, window=Window(max_length=20, long="error")).encode(Passage("ba", LONG), None, tok)
    (row,) = replace(OBJECTIVE, window=Window(max_length=20, long="truncate")).encode(Passage("ba", LONG), None, tok)
    assert row.seen == (17, 41)


def test_an_answer_without_tokens_cannot_be_learnt(folder: Path) -> None:
    tok = tokenizers("bert", folder)
    with pytest.raises(DataError, match="no token for the answer"):
        OBJECTIVE.encode(Passage("ba", "ba \x07 be"), ((3, 4),), tok)


def test_loss_by_hand(folder: Path) -> None:
    """Two rows of one example, weight a half each: the mean of both cross-entropies, padding left out."""
    tok = tokenizers("bert", folder)
    rows = [
        Row(ids=[2, 5, 3], types=[0, 0, 0], target=(1, 2), weight=0.5),
        Row(ids=[2, 3], types=[0, 0], target=(0, 0), weight=0.5),
    ]
    batch = OBJECTIVE.collate(rows, tok, answering=False, rng=batching.rng(0, "answer")).to("cpu")
    assert batch.terms == 1
    start = torch.tensor([[0.0, math.log(2), 0.0], [0.0, 0.0, 50.0]])
    end = torch.tensor([[0.0, 0.0, math.log(6)], [math.log(3), 0.0, 50.0]])
    # p(start) = 2/4 and 1/2, p(end) = 6/8 and 3/4
    expected = -0.5 * (math.log(1 / 2) + math.log(3 / 4)) / 2 - 0.5 * (math.log(1 / 2) + math.log(3 / 4)) / 2
    assert float(OBJECTIVE.loss({"start": start, "end": end}, batch)) == pytest.approx(expected, rel=1e-6)


class Fixed:
    """A runner that answers with given logits."""

    def __init__(self, start: Any, end: Any) -> None:
        self.found = {"start": np.array(start, dtype="float32"), "end": np.array(end, dtype="float32")}

    def compute(self, objective: Any, batch: Any) -> Any:
        return self.found


def answered(start: list[list[float]], end: list[list[float]], spans: list[list[Any]], **options: Any) -> Any:
    objective = replace(OBJECTIVE, **options)
    rows = [Row(ids=[0] * (2 + len(own)), place=Place(2, tuple(own))) for own in spans]
    batch: Any = type("B", (), {"rows": rows})()
    runner: Any = Fixed(start, end)
    return objective.join(Passage("", ""), rows, objective.predict(runner, batch, {}))


def test_the_best_span_over_windows_by_hand() -> None:
    """Two windows share the span (2, 3); scores are normalised in each window, and padding counts for nothing."""
    ln = np.log
    found = answered(
        [[ln(1), ln(1), ln(4), ln(2)], [ln(8), ln(1), ln(1), 99.0]],
        [[ln(1), ln(1), ln(2), ln(4)], [ln(8), ln(1), ln(1), 99.0]],
        [[(0, 1), (2, 3)], [(2, 3)]],
    )
    # first window: p = [1, 1, 4, 2] / 8 and q = [1, 1, 2, 4] / 8; second: [8, 1, 1] / 10 for both
    scores = {(0, 3): 16 / 64, (0, 1): 8 / 64, (2, 3): max(8 / 64, 1 / 100)}
    total = sum(scores.values()) + min(1 / 64, 64 / 100)
    assert found.spans == ((0, 3), (0, 1), (2, 3))
    np.testing.assert_allclose(found.scores, [scores[span] / total for span in found.spans], rtol=1e-6)
    assert found.none == pytest.approx((1 / 64) / total, rel=1e-6)


def test_spans_are_forward_short_and_visible() -> None:
    start = [[0.0, 0.0, 0.0, 5.0, 9.0]]
    end = [[0.0, 0.0, 5.0, 0.0, 9.0]]
    spans = [[(0, 1), (2, 3), None]]
    assert answered(start, end, spans).spans[0] in {(0, 1), (2, 3), (0, 3)}
    assert set(answered(start, end, spans).spans) == {(0, 1), (2, 3), (0, 3)}
    assert set(answered(start, end, spans, max_answer_tokens=1).spans) == {(0, 1), (2, 3)}


def test_all_pairs_are_searched() -> None:
    """Against every pair of tokens, one by one."""
    draw = np.random.default_rng(0)
    tokens, longest = 40, 7
    start, end = draw.normal(size=(2, 1, tokens + 2)) * 3
    spans = [(2 * at, 2 * at + 1) for at in range(tokens)]
    pairs = {
        (2 * i, 2 * j + 1): start[0, i + 2] + end[0, j + 2]
        for i in range(tokens)
        for j in range(i, min(i + longest, 40))
    }
    best = sorted(pairs, key=lambda span: -pairs[span])[:BEST]
    assert list(answered(start.tolist(), end.tolist(), [spans], max_answer_tokens=longest).spans) == best


def test_a_context_of_nothing_has_no_answer() -> None:
    found = answered([[0.0, 0.0]], [[0.0, 0.0]], [[]])
    assert (found.spans, found.scores, found.none) == ((), (), 1.0)


@EVERY
def test_a_pretrained_backbone_is_kept(architecture: str, folder: Path) -> None:
    """transformers draws all of a Llama or Qwen2 anew under its head for spans."""
    location = Location("tiny", tiny(architecture, folder))
    attention: Any = "causal" if architecture in {"gpt_neo", "bloom"} else "auto"
    loaded = backbone.load(location, OBJECTIVE, attention=attention)
    assert len(loaded.fresh) == 1
    plain = backbone.upstream.load_model(None, location.folder, upstream.read_config(location.folder), torch.float32)[0]
    model: Any = loaded.model
    theirs = model.base.state_dict() if loaded.head == "nlpipe" else model.state_dict()
    for name, weight in plain.state_dict().items():
        same = [key for key in theirs if key == name or key.endswith(f".{name}")]
        assert any(torch.equal(theirs[key], weight) for key in same) or "pooler" in name, name
