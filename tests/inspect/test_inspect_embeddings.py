"""Vectors are the model's own, and the pictures of them are what they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe.inspect import Subject, embeddings
from nlpipe.inspect.numbers import cosines, principal
from nlpipe.inspect.views.embeddings import states

SEVEN = ("bert", "roberta", "gpt2", "llama", "bloom", "t5", "bart")
seven = pytest.mark.parametrize("architecture", SEVEN)
TEXT = "The bark of the tree, said the dog."


@seven
def test_states_are_the_models_own(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    seen = subject(architecture)
    reading = seen.read(TEXT)
    model = upstream_model(architecture, "AutoModel")  # with its default attention, not the one whose weights show
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.no_grad():
        expected = model(torch.tensor([reading.ids]), output_hidden_states=True).hidden_states
    found = states(seen, reading)
    assert len(found) == len(expected) == 3
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs[0], atol=1e-5)


@seven
def test_a_words_vector_is_the_mean_of_its_pieces(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    seen = subject(architecture)
    reading = seen.read(TEXT)
    table = upstream_model(architecture, "AutoModel").get_input_embeddings().weight.detach().numpy()
    found = embeddings(seen, TEXT)
    assert found.layers == ("vocabulary", "input", "layer 1", "layer 2")
    assert [item.label for item in found.items] == [word.text for word in reading.words]
    said = [word.text for word in reading.words].index("said")
    assert len(reading.words[said].pieces) > 1
    own = [reading.ids[at] for at in reading.words[said].pieces]
    np.testing.assert_allclose(found.vectors[0][said], table[own].mean(0), rtol=1e-5)
    one, two = found.vectors[2][0].astype(float), found.vectors[2][3].astype(float)
    expected = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert found.cosines[2, 0, 3] == pytest.approx(expected, abs=1e-6)


def test_sentences_are_the_mean_of_all_their_tokens(minilm: Subject) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = ["A dog runs in the park.", "A puppy is running outside.", "Interest rates rose again."]
    model = sentence_transformers.SentenceTransformer(str(minilm.location.folder), device="cpu")
    expected = model.encode(texts)
    found = embeddings(minilm, *texts)
    assert (found.of, [item.text for item in found.items]) == ("sentences", [0, 1, 2])
    np.testing.assert_allclose(found.cosines[-1], expected @ expected.T, atol=1e-5)
    assert found.nearest == ()
    assert found.cosines[-1, 0, 1] > 0.5 > found.cosines[-1, 0, 2]


def test_principal_components_are_scikit_learns() -> None:
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(0).normal(size=(12, 7)) @ np.diag([9, 5, 3, 1, 1, 0.5, 0.1])
    places, shares = principal(rows)
    expected = PCA(3).fit(rows)
    np.testing.assert_allclose(shares, expected.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(places), np.abs(expected.transform(rows)), atol=1e-9)
    assert (places[np.abs(places).argmax(0), range(3)] > 0).all()


def test_points_that_lie_in_a_plane_keep_their_distances() -> None:
    rows = np.random.default_rng(1).normal(size=(6, 2)) @ np.random.default_rng(2).normal(size=(2, 5))
    places, shares = principal(rows)
    assert shares.sum() == pytest.approx(1)
    assert shares[2] == pytest.approx(0, abs=1e-12)
    far = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(places[:, None] - places[None], axis=-1), far, atol=1e-9)
    one_place, none = principal(np.ones((1, 5)))
    assert not one_place.any()
    assert not none.any()


def test_a_vector_without_length_is_like_nothing() -> None:
    assert cosines(np.array([[0.0, 0.0], [0.0, 2.0]])).tolist() == [[0, 0], [0, 1]]


def test_one_word_in_two_contexts(minilm: Subject) -> None:
    texts = ("the bark of a tall tree", "the dog's bark was loud")
    found = embeddings(minilm, *texts, word="bark").contexts
    assert found is not None
    assert found.cosine[0] == pytest.approx(1), "one word has one vector in the vocabulary"
    assert (found.cosine[1:] < 0.99).all()
    assert (found.cosine > found.others).all()
    again = embeddings(minilm, texts[0], texts[0], word="Bark").contexts
    assert again is not None
    np.testing.assert_allclose(again.cosine, 1, atol=1e-6)
    within = embeddings(minilm, "the bark of the bark", word="bark").contexts
    assert within is not None
    assert within.cosine[-1] < 0.999


def test_neighbours_are_alike(minilm: Subject) -> None:
    found = embeddings(minilm, "the tree was wet", nearest=5)
    near = {item.label: [one.piece for one in own] for item, own in zip(found.items, found.nearest, strict=True)}
    assert near["tree"][0] == "trees"
    assert "dry" in near["wet"]
    assert all(len(own) == 5 for own in found.nearest)
    assert all(own[0].cosine >= own[-1].cosine for own in found.nearest)
    assert "tree" not in near["tree"]


def test_letters_have_vectors_too(g2p: Subject) -> None:
    assert [item.label for item in embeddings(g2p, "cat", of="tokens").items] == ["c", "a", "t"]
