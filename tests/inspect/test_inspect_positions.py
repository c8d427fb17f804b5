"""The scheme is the one the architecture has, and its picture is made of the model's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe.inspect import Subject, positions
from nlpipe.inspect.numbers import cosines
from nlpipe.inspect.views.positions import slopes

KINDS = {
    "bert": ["learned"],
    "roberta": ["learned"],
    "gpt2": ["learned"],
    "opt": ["learned"],
    "bart": ["learned", "learned"],
    "marian": ["sinusoidal", "sinusoidal"],
    "llama": ["rotary"],
    "modernbert": ["rotary", "rotary"],
    "bloom": ["alibi"],
    "t5": ["relative bias", "relative bias"],
    "mpnet": ["learned", "relative bias"],
    "deberta_v2": ["relative vectors"],
}
ADDED = {"learned", "sinusoidal"}
TEXT = "The dog saw the tree near the river."


@pytest.mark.parametrize("architecture", KINDS)
def test_the_scheme_is_named(subject: Callable[[str], Subject], architecture: str) -> None:
    assert [scheme.kind for scheme in positions(subject(architecture), TEXT).schemes] == KINDS[architecture]


@pytest.mark.parametrize("architecture", KINDS)
def test_another_order_gives_other_states(subject: Callable[[str], Subject], architecture: str) -> None:
    found = positions(subject(architecture), TEXT)
    assert found.other == ". river the near tree the saw dog The"
    assert found.moved.shape[1] >= 7, "words that a tokenizer writes otherwise at the beginning are left out"
    assert (found.moved[-1] > 1e-7).all(), "no word stands where it stood, or sees what it saw"
    added = bool(ADDED & set(KINDS[architecture]))
    middle = found.words.index("near") if "near" in found.words else -1
    moves_at_input = np.delete(found.moved[0], middle) > 1e-4
    assert moves_at_input.mean() > 0.8 if added else not moves_at_input.any()


def test_a_word_that_stays_among_the_same_words_does_not_move(subject: Callable[[str], Subject]) -> None:
    found = positions(subject("bert"), "bark tree dog tree bark")
    assert found.other == "bark tree dog tree bark"
    np.testing.assert_allclose(found.moved[:, 2], 0, atol=1e-6)
    assert (found.moved[0, [0, 4]] > 0.01).all(), "the first bark is now the last one"


def test_a_seed_draws_an_order(subject: Callable[[str], Subject]) -> None:
    one, again, other = (positions(subject("bert"), TEXT, seed=seed).other for seed in (1, 1, 2))
    assert one == again != other
    assert sorted(one.split()) == sorted(other.split())


def test_unused_rows_of_a_table_are_left_out(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any]
) -> None:
    for architecture, module, skipped in (
        ("bart", "encoder.embed_positions", 2),
        ("roberta", "embeddings.position_embeddings", 2),
        ("bert", "embeddings.position_embeddings", 0),
    ):
        table = upstream_model(architecture, "AutoModel").get_submodule(module).weight.detach().numpy()
        picture = positions(subject(architecture), TEXT).schemes[0].picture
        np.testing.assert_allclose(picture, cosines(table[skipped : skipped + 64]), atol=1e-6)


def test_rotary_angles_are_the_models(subject: Callable[[str], Subject], upstream_model: Callable[..., Any]) -> None:
    model = upstream_model("llama", "AutoModel")
    cosine, _ = model.rotary_emb(torch.zeros(1, 64, 32), torch.arange(64)[None])
    picture = positions(subject("llama"), TEXT).schemes[0].picture
    np.testing.assert_allclose(picture, cosine[0, :, : picture.shape[1]], atol=1e-5)


@pytest.mark.parametrize("heads", [1, 4, 6, 8, 12, 16])
def test_slopes_are_blooms(heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 5).long(), heads, torch.float32).reshape(heads, 5)
    np.testing.assert_allclose(slopes(heads), (theirs[:, 1] - theirs[:, 0]), rtol=1e-6)


def test_relative_bias_is_t5s(subject: Callable[[str], Subject], upstream_model: Callable[..., Any]) -> None:
    attention = upstream_model("t5", "AutoModel").encoder.block[0].layer[0].SelfAttention
    theirs = attention.compute_bias(64, 64)[0].detach().numpy()
    scheme = positions(subject("t5"), TEXT).schemes[0]
    assert scheme.distances == tuple(range(-63, 64))
    for query, key in ((0, 0), (3, 10), (40, 2), (63, 0), (0, 63)):
        np.testing.assert_allclose(scheme.picture[:, scheme.distances.index(key - query)], theirs[:, query, key])


def test_one_word_has_one_order(subject: Callable[[str], Subject]) -> None:
    assert "one word has only one order" in positions(subject("bert"), "tree").notes
