"""Random Unicode through every kind of tokenizer: each offset in each result cuts exactly the text it claims."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from nlpipe import Answer, Entities
from nlpipe.objectives import passages
from nlpipe.objectives.base import Passage
from nlpipe.pipelines import Pipeline
from nlpipe.testing.odd import odd_texts
from nlpipe_ner.segments import words
from tests.support import tiny, untrained

LABELS = ("O", "B-x", "I-x", "B-y", "I-y")
TOKENIZERS = pytest.mark.parametrize(
    "architecture",
    [
        pytest.param("bert", id="word pieces"),
        pytest.param("gpt2", id="byte pairs"),
        pytest.param("t5", id="unigram"),
        pytest.param("llama", id="metaspace"),
        pytest.param("marian", id="without offsets"),
    ],
)
MANY = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def entities(architecture: str, folder: Path) -> Pipeline:
    """A model that sees entities everywhere, in windows of a few words."""
    pipe = untrained("ner", tiny(architecture, folder), LABELS, max_length=24, overlap=6)
    model: Any = pipe.runner.model  # type: ignore[attr-defined]
    with torch.no_grad():
        for name, bias in model.named_parameters():
            if name in {"classifier.bias", "score.bias", "head.bias"}:
                bias[0] -= 20
    return pipe


def check_entities(pipe: Pipeline, texts: list[str]) -> int:
    """How many entities there are; every word of a text is read, none is split, none is in two of them."""
    found = 0
    for text, result in zip(texts, pipe(texts), strict=True):
        there = words(text)
        starts, ends = {start for start, _ in there}, {end for _, end in there}
        for span in result.spans:
            assert text[span.start : span.end] == span.text == span.text.strip() != ""
            assert span.start in starts
            assert span.end in ends
            assert 0 <= span.score <= 1
        assert all(one.end <= two.start for one, two in pairwise(result.spans))
        assert Entities.from_dict(json.loads(json.dumps(result.to_dict()))) == result
        assert result.seen[0] == result.seen[1]
        found += len(result.spans)
    return found


def check_answers(pipe: Pipeline, texts: list[str]) -> int:
    """How many texts have an answer; all that have something to be seen do."""
    asked = [{"question": "north \u0301?", "context": text} for text in texts]
    answered = 0
    for text, result in zip(texts, pipe(asked), strict=True):
        told = [result, *result.alternatives] if result.text else []
        for answer in told:
            assert text[answer.start : answer.end] == answer.text == answer.text.strip() != ""
            assert 0 <= answer.score <= 1
        assert len({(answer.start, answer.end) for answer in told}) == len(told)
        assert Answer.from_dict(json.loads(json.dumps(result.to_dict()))) == result
        assert told or not any(character.isascii() and character.isalnum() for character in text)
        answered += bool(told)
    return answered


def check_golds(pipe: Pipeline, texts: list[str]) -> None:
    """An answer's first and last token, as they are learnt, cut it whole, and begin and end within its ends' words."""
    draw, tok = random.Random(5), pipe.tokenizers
    objective = replace(pipe.objective, window=replace(pipe.objective.window, max_length=512))
    for text in texts:
        there = passages.words_in(text)
        if not there:
            continue
        first = draw.randrange(len(there))
        last = draw.randrange(first, min(len(there), first + 4))
        start, end = there[first][0], there[last][1]
        if passages.covering(passages.read(text, tok.source).spans, start, end) is None:
            continue  # characters that this tokenizer drops: training names the row
        (row,) = objective.encode(Passage("ba", text), ((start, end),), tok)
        opening, closing = (row.place.spans[at - row.place.first] for at in row.target)
        seen = [at for span in row.place.spans if span for at in range(*span)]
        assert all(opening[0] <= at < closing[1] for at in range(start, end) if at in set(seen))


@TOKENIZERS
def test_offsets_cut_what_they_claim(architecture: str, folder: Path) -> None:
    texts = odd_texts(200, seed=11)
    assert check_entities(entities(architecture, folder), texts) > 200
    asked = untrained("qa", tiny(architecture, folder), max_length=32)
    assert check_answers(asked, texts) > 150
    check_golds(asked, texts[:100])


@pytest.mark.slow
@TOKENIZERS
def test_offsets_of_many_texts(architecture: str, folder: Path) -> None:
    texts = odd_texts(MANY, seed=12)
    assert check_entities(entities(architecture, folder), texts) > MANY
    asked = untrained("qa", tiny(architecture, folder), max_length=32)
    assert check_answers(asked, texts) > 0.8 * MANY
    check_golds(asked, texts[:2000])
