"""Inputs and targets follow the papers' recipes, and the losses are the models' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe.errors import UnsupportedError
from nlpipe.inspect import Subject, objective
from nlpipe.inspect.views.objective import spans_of

TEXT = "The small red fox saw three birds near the old tree, said the dog by the river."


def ids(pieces: Any) -> list[int]:
    return [piece.id for piece in pieces]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_masked_loss_is_the_models(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    found = objective(subject(architecture), TEXT, seed=4)
    assert found.kind == "masked"
    labels = torch.full((1, len(found.input)), -100)
    labels[0, list(found.at)] = torch.tensor(ids(found.target))
    with torch.no_grad():
        loss = upstream_model(architecture, "AutoModelForMaskedLM")(
            torch.tensor([ids(found.input)]), labels=labels
        ).loss
    assert found.mean_loss == pytest.approx(float(loss), rel=1e-4)


def test_masking_is_80_10_10_of_15_percent(subject: Callable[[str], Subject]) -> None:
    seen = subject("bert")
    marks: Counter[str] = Counter()
    for seed in range(150):
        found = objective(seen, TEXT, seed=seed)
        marks.update(found.marks)
        original = seen.read(TEXT).ids
        assert len(found.at) == round(0.15 * (len(original) - 2))
        for at, target in zip(found.at, found.target, strict=True):
            assert target.id == original[at]
            assert (found.input[at].piece == "[MASK]") == (found.marks[at] == "blank")
            assert found.marks[at] != "kept" or found.input[at].id == original[at]
        untouched = [at for at in range(len(original)) if at not in found.at]
        assert [found.input[at].id for at in untouched] == [original[at] for at in untouched]
        assert not any(found.input[at].special for at in found.at if found.marks[at] == "kept")
    asked = marks["blank"] + marks["random"] + marks["kept"]
    assert marks["blank"] / asked == pytest.approx(0.8, abs=0.05)
    assert marks["random"] / asked == pytest.approx(0.1, abs=0.04)


def test_a_seed_fixes_everything(subject: Callable[[str], Subject]) -> None:
    for architecture in ("bert", "t5", "bart"):
        one, again, other = (objective(subject(architecture), TEXT, seed=seed) for seed in (5, 5, 6))
        assert one.to_json() == again.to_json()
        assert ids(one.input) != ids(other.input)


def test_at_least_one_token_is_asked_for(subject: Callable[[str], Subject]) -> None:
    assert len(objective(subject("bert"), "tree").target) == 1


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bloom"])
def test_next_token_loss_is_the_models(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    found = objective(subject(architecture), TEXT)
    whole = torch.tensor([ids(found.input)])
    with torch.no_grad():
        loss = upstream_model(architecture, "AutoModelForCausalLM")(whole, labels=whole).loss
    assert found.mean_loss == pytest.approx(float(loss), rel=1e-4)
    assert ids(found.target) == ids(found.input)[1:]
    assert found.at == tuple(range(len(found.target)))


@pytest.mark.parametrize("seed", range(5))
def test_spans_can_be_put_back(subject: Callable[[str], Subject], seed: int) -> None:
    seen = subject("t5")
    found = objective(seen, TEXT, seed=seed)
    assert found.kind == "span"
    target, stood = ids(found.target), dict[int, list[int]]()
    assert target[-1] == seen.tokenizers.source.upstream.eos_token_id
    for token in target[:-1]:
        if token in seen.blanks:
            latest = stood.setdefault(token, [])
        else:
            latest.append(token)
    restored = [one for token in ids(found.input) for one in stood.get(token, [token])]
    assert restored == seen.read(TEXT).ids
    sentinels = [token for token in ids(found.input) if token in seen.blanks]
    assert sentinels == list(seen.blanks[: len(sentinels)])
    assert list(stood) == [*sentinels, seen.blanks[len(sentinels)]], "the target ends with one sentinel more"
    assert [mark == "blank" for mark in found.marks] == [token in seen.blanks for token in ids(found.input)]


def test_span_loss_is_the_models(subject: Callable[[str], Subject], upstream_model: Callable[..., Any]) -> None:
    for architecture, kind in (("t5", "span"), ("bart", "infilling"), ("marian", "output")):
        found = objective(subject(architecture), TEXT, "the dog" if kind == "output" else None, seed=2)
        assert found.kind == kind
        with torch.no_grad():
            model = upstream_model(architecture, "AutoModelForSeq2SeqLM")
            start = subject(architecture).tokenizers.start
            decoder = torch.tensor([[*start, *ids(found.target)[:-1]]])
            logits = model(torch.tensor([ids(found.input)]), decoder_input_ids=decoder).logits[0, len(start) - 1 :]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids(found.target)))
        assert found.mean_loss == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 40, 500])
def test_noise_spans_are_t5s(length: int) -> None:
    noise = []
    for seed in range(40):
        spans = spans_of(length, np.random.default_rng(seed))
        flat = [at for start, end in spans for at in range(start, end)]
        assert flat == sorted(set(flat))
        assert all(start < end <= length for start, end in spans)
        assert all(one[1] < two[0] for one, two in pairwise(spans)), "spans do not touch"
        noise.append(len(flat))
    expected = 1 if length == 1 else min(max(round(0.15 * length), 1), length - 1)
    assert set(noise) == {expected}
    if length == 500:
        assert len(spans) == 25, "75 noise tokens in spans of 3 on average"


@pytest.mark.parametrize("seed", range(6))
def test_infilling_asks_for_the_whole_text(subject: Callable[[str], Subject], seed: int) -> None:
    seen = subject("bart")
    found = objective(seen, TEXT, seed=seed)
    original = seen.read(TEXT).ids
    assert ids(found.target) == original[1:], "the decoder has read <s> before"
    assert seen.tokenizers.start[1:] == (original[0],)
    left = [token for token in ids(found.input) if token not in seen.blanks]
    at = 0
    for token in left:  # what is left stands in the text in this order
        at = original.index(token, at) + 1
    gone = len(original) - len(left)
    assert 1 <= gone <= round(0.3 * (len(original) - 2))
    assert ids(found.input).count(seen.blanks[0]) >= 1


def test_without_a_head_there_is_no_loss(minilm: Subject) -> None:
    found = objective(minilm, TEXT)
    assert "blank" in found.marks
    assert np.isnan(found.loss).all()
    assert "no trained head" in found.notes[0]


def test_letters_are_asked_for_sounds(g2p: Subject) -> None:
    found = objective(g2p, "cat", "kˈæt")
    assert [piece.label for piece in found.target] == ["k", "ˈ", "æ", "t", "</s>"]
    wrong = objective(g2p, "cat", "dˈɔɡ")
    assert wrong.mean_loss > found.mean_loss + 1
    own = objective(g2p, "cat")
    assert (own.kind, "no output was given" in own.notes[0]) == ("output", True)


def test_a_model_has_its_own_objectives(subject: Callable[[str], Subject]) -> None:
    with pytest.raises(UnsupportedError, match=r"has no part in 'span'; it has in: next"):
        objective(subject("gpt2"), TEXT, kind="span")
    with pytest.raises(UnsupportedError, match=r"unknown objective 'mask'; did you mean 'masked'\?"):
        objective(subject("bert"), TEXT, kind="mask")
