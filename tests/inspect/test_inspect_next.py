"""Probabilities are the model's softmax, drawing is transformers' own, and writing is greedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inspect import Subject
from nlpipe.inspect import next as show
from nlpipe.inspect.views.next import drawn

TEXT = "The bark of the tree, said the"
DECODERS = ("gpt2", "gpt_neo", "llama", "bloom")
PAIRS = ("t5", "bart", "marian")
MASKED = ("bert", "roberta", "distilbert", "modernbert")


def softmax(model: Any, ids: list[int], **more: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]), **more).logits[0].double().softmax(-1)


@pytest.mark.parametrize("architecture", DECODERS)
def test_steps_are_the_models_softmax(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    mine, model = subject(architecture), upstream_model(architecture, "AutoModelForCausalLM")
    found = show(mine, TEXT, steps=5, top=7)
    ids = mine.read(TEXT).ids
    probabilities = softmax(model, ids)[-1]
    assert [choice.id for choice in found.places[0].candidates] == probabilities.topk(7).indices.tolist()
    np.testing.assert_allclose(
        [c.probability for c in found.places[0].candidates], probabilities.topk(7).values, rtol=1e-4
    )
    for step in found.steps:
        now = softmax(model, ids)[-1]
        assert step.chosen.id == int(now.argmax())
        assert step.chosen.probability == pytest.approx(float(now.max()), rel=1e-4)
        np.testing.assert_allclose([one.probability for one in step.runners], now.topk(5).values[1:], rtol=1e-4)
        ids.append(step.chosen.id)
    likelihood = 1.0
    whole = softmax(model, ids)
    start = len(ids) - len(found.steps)
    for at in range(start, len(ids)):
        likelihood *= float(whole[at - 1, ids[at]])
    assert math.prod(step.chosen.probability for step in found.steps) == pytest.approx(likelihood, rel=1e-3)


@pytest.mark.parametrize("architecture", [*DECODERS, *PAIRS])
def test_writing_is_greedy_generation(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    pair = architecture in PAIRS
    mine = subject(architecture)
    model = upstream_model(architecture, "AutoModelForSeq2SeqLM" if pair else "AutoModelForCausalLM")
    given = torch.tensor([mine.read(TEXT).ids])
    model.generation_config.forced_bos_token_id = model.generation_config.forced_eos_token_id = None
    begun = {"decoder_input_ids": torch.tensor([mine.tokenizers.start])} if pair else {}
    out = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=6, pad_token_id=0, **begun
    )
    expected = out[0, len(mine.tokenizers.start) if pair else given.shape[1] :]
    assert [step.chosen.id for step in show(mine, TEXT, steps=6).steps] == expected.tolist()


@pytest.mark.parametrize("architecture", DECODERS)
def test_perplexity_is_the_models_loss(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    mine, model = subject(architecture), upstream_model(architecture, "AutoModelForCausalLM")
    ids = torch.tensor([mine.read(TEXT).ids])
    found = show(mine, TEXT, steps=0).surprise
    assert found is not None
    with torch.no_grad():
        loss = float(model(ids, labels=ids).loss)
    assert found.perplexity == pytest.approx(math.exp(loss), rel=1e-4)
    assert np.isnan(found.bits[0]), "nothing stands before the first token"
    assert found.given == "before"
    assert np.nansum(found.bits) * math.log(2) == pytest.approx(loss * (ids.shape[1] - 1), rel=1e-4)


@pytest.mark.parametrize("architecture", PAIRS)
def test_an_outputs_surprise_is_the_models_loss(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    mine, model = subject(architecture), upstream_model(architecture, "AutoModelForSeq2SeqLM")
    labels = torch.tensor([mine.output("the dog").ids])
    assert labels[0, -1] == model.config.eos_token_id
    start = mine.tokenizers.start
    with torch.no_grad():
        decoder = torch.tensor([[*start, *labels[0, :-1].tolist()]])
        logits = model(torch.tensor([mine.read(TEXT).ids]), decoder_input_ids=decoder).logits[0, len(start) - 1 :]
        loss = float(torch.nn.functional.cross_entropy(logits, labels[0]))
    found = show(mine, TEXT, "the dog", steps=0).surprise
    assert found is not None
    assert found.perplexity == pytest.approx(math.exp(loss), rel=1e-4)


@pytest.mark.parametrize("architecture", MASKED)
def test_blanks_are_the_models_guesses(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    mine, model = subject(architecture), upstream_model(architecture, "AutoModelForMaskedLM")
    tok = mine.tokenizers.source.upstream
    written = f"The bark of the {tok.mask_token}, said the {tok.mask_token}."
    ids = tok(written)["input_ids"]
    assert mine.read("The bark of the ___, said the ___.", blank=True).ids == ids
    found = show(mine, "The bark of the ___, said the ___.", top=3)
    assert show(mine, written).places[1].candidates[0] == found.places[1].candidates[0]
    probabilities = softmax(model, ids)
    blanks = [at for at, one in enumerate(ids) if one == tok.mask_token_id]
    for place, at in zip(found.places, blanks, strict=True):
        assert [choice.id for choice in place.candidates] == probabilities[at].topk(3).indices.tolist()
        np.testing.assert_allclose(
            [c.probability for c in place.candidates], probabilities[at].topk(3).values, rtol=1e-4
        )
    surprise = found.surprise
    assert surprise is not None
    assert surprise.given == "around"
    assert not np.isfinite(surprise.bits[blanks]).any()
    asked = ids.index(next(one for one in ids[2:] if one != tok.mask_token_id))
    blanked = [tok.mask_token_id if at == asked else one for at, one in enumerate(ids)]
    expected = -math.log2(softmax(model, blanked)[asked, ids[asked]])
    assert surprise.bits[asked] == pytest.approx(expected, rel=1e-4)


def test_without_a_blank_there_is_the_surprise_and_a_hint(subject: Callable[[str], Subject]) -> None:
    found = show(subject("bert"), "The tree.")
    assert (found.places, found.steps) == ((), ())
    assert found.surprise is not None
    assert found.notes == ("write ___ where a word shall be guessed",)


def test_t5_fills_blanks_with_its_sentinels(subject: Callable[[str], Subject]) -> None:
    mine = subject("t5")
    expected = mine.tokenizers.source.upstream("the <extra_id_0> of the <extra_id_1>.")["input_ids"]
    assert mine.read("the ___ of the ___.", blank=True).ids == expected
    assert [at for at, token in enumerate(expected) if token in mine.blanks[:2]] == list(
        mine.read("the ___ of the ___.", blank=True).blanks
    )


def test_a_mask_that_takes_the_space_before_it(test_data: Path) -> None:
    """As RoBERTa's does in life, and not in the tiny one."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    from nlpipe.inspect.reading import read
    from nlpipe.tokens import Tokenizer

    theirs = AutoTokenizer.from_pretrained(test_data / "models" / "tokenizer-gpt2")
    theirs.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True, special=True)})
    found = read("the ___ sat", Tokenizer(theirs, segments=False), blank=(theirs.mask_token_id,))
    assert found.ids == theirs("the <mask> sat")["input_ids"]
    assert found.blanks == (1,)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.3},
        {"temperature": 2.5},
        {"top_k": 3},
        {"top_p": 0.6},
        {"top_p": 0.01},
        {"top_p": 1.0},
        {"temperature": 1.7, "top_k": 9, "top_p": 0.7},
    ],
    ids=str,
)
def test_drawing_is_transformers(settings: dict[str, float]) -> None:
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = torch.randn(40, generator=torch.Generator().manual_seed(3)).mul(2)[None]
    known = {"temperature": TemperatureLogitsWarper, "top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper}
    chain = LogitsProcessorList([known[name](value) for name, value in settings.items()])
    expected = chain(torch.zeros(1, 1).long(), scores.clone()).softmax(-1)[0]
    np.testing.assert_allclose(drawn(scores[0].numpy(), **settings), expected, atol=1e-6)


def test_what_drawing_keeps_is_counted(subject: Callable[[str], Subject]) -> None:
    place = show(subject("gpt2"), TEXT, top=6, top_k=4, top_p=0.5, temperature=0.5, steps=0).places[0]
    warm, few, enough, together = place.drawings
    assert [drawing.name for drawing in place.drawings] == ["temperature 0.5", "top-k 4", "top-p 0.5", "all three"]
    assert (warm.kept, warm.mass) == (len(place.scores), pytest.approx(1))
    assert (few.kept, (few.probabilities > 0).tolist()) == (4, [True] * 4 + [False] * 2)
    assert few.mass == pytest.approx(sum(choice.probability for choice in place.candidates[:4]))
    assert enough.mass >= 0.5
    assert together.kept <= few.kept
    assert warm.probabilities[0] > place.candidates[0].probability


def test_stories_are_told(stories: Subject) -> None:
    found = show(stories, "One day, a girl found a", steps=25)
    assert found.written.strip().startswith("big box. She was very happy. She wanted to see what was")
    assert found.steps[-1].chosen.probability > max(one.probability for one in found.steps[-1].runners)


def test_a_model_without_a_head_says_so(minilm: Subject) -> None:
    with pytest.raises(UnsupportedError, match="no trained head over its vocabulary"):
        show(minilm, "the tree")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature must be greater than 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 1.5}, "top_p must be greater than 0 and at most 1"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"top": 0}, "top must be at least 1"),
    ],
)
def test_settings_have_ranges(subject: Callable[[str], Subject], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        show(subject("gpt2"), "the", **settings)
