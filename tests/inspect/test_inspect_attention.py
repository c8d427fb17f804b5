"""What is shown is the architecture's own attention, and what is made of it is what it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe.inspect import Subject, attention
from nlpipe.inspect.reading import Unit, merge
from nlpipe.inspect.views.attention import rollout

TEXT = "The bark of the tree, said the dog."
OUTPUT = "the dog said"
FAMILIES = {
    "bert": ("self",),
    "roberta": ("self",),
    "distilbert": ("self",),
    "bigbird": ("self",),
    "modernbert": ("self",),
    "gpt2": ("causal",),
    "gpt_neo": ("causal",),
    "llama": ("causal",),
    "bloom": ("causal",),
    "t5": ("encoder", "decoder", "cross"),
    "bart": ("encoder", "decoder", "cross"),
    "marian": ("encoder", "decoder", "cross"),
}
every = pytest.mark.parametrize("architecture", FAMILIES)


def seen(subject: Subject, **options: Any) -> Any:
    pair = subject.config.is_encoder_decoder
    return attention(subject, TEXT, OUTPUT, **options) if pair else attention(subject, TEXT, **options)


@every
def test_the_weights_are_the_models_own(
    subject: Callable[[str], Subject], upstream_model: Callable[..., Any], architecture: str
) -> None:
    mine = subject(architecture)
    model = upstream_model(architecture, "AutoModel", attn_implementation="eager")
    inputs = {"input_ids": torch.tensor([mine.read(TEXT).ids])}
    if model.config.is_encoder_decoder:
        decoder = [*mine.tokenizers.start, *mine.output(OUTPUT).ids[:-1]]
        inputs["decoder_input_ids"] = torch.tensor([decoder])
    with torch.no_grad():
        out = model(**inputs, output_attentions=True)
    expected = {
        "self": "attentions",
        "causal": "attentions",
        "encoder": "encoder_attentions",
        "decoder": "decoder_attentions",
        "cross": "cross_attentions",
    }
    found = seen(mine)
    assert tuple(part.kind for part in found.parts) == FAMILIES[architecture]
    for part in found.parts:
        theirs = np.stack([layer[0].numpy() for layer in getattr(out, expected[part.kind])])
        if part.kind == "cross":  # a row for each written token: where the last one before it was read
            theirs = theirs[:, :, -len(mine.output(OUTPUT).ids) :]
        np.testing.assert_allclose(part.weights, theirs, atol=1e-6)
        assert part.weights.shape == (2, 4, len(part.rows), len(part.columns))


@every
def test_rows_sum_to_one_and_nothing_ahead_is_seen(subject: Callable[[str], Subject], architecture: str) -> None:
    for words in (False, True):
        for part in seen(subject(architecture), words=words).parts:
            np.testing.assert_allclose(part.weights.sum(-1), 1, atol=1e-5)
            np.testing.assert_allclose(part.average.sum(-1), 1, atol=1e-5)
            if part.rollout is not None:
                np.testing.assert_allclose(part.rollout.sum(-1), 1, atol=1e-5)
            if part.kind in ("causal", "decoder"):
                ahead = np.triu_indices(len(part.rows), 1)
                assert not part.weights[..., ahead[0], ahead[1]].any()
                assert not part.rollout[ahead].any()
            if part.kind in ("self", "encoder"):
                assert part.weights[..., 0, 1:].any(), "an encoder looks ahead"


def test_pieces_are_merged_to_words() -> None:
    # Two tokens [a, b] make a word, c is one by itself. What the word gives is the mean of its rows, what it gets the
    # sum of its columns.
    matrix = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.6, 0.4, 0.0]])
    units = (Unit("ab", (0, 1)), Unit("c", (2,)))
    np.testing.assert_allclose(merge(matrix, units, units), [[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(merge(np.stack([matrix] * 2), units, units)[1], [[0.5, 0.5], [1.0, 0.0]])


def test_words_are_the_texts(subject: Callable[[str], Subject]) -> None:
    part = attention(subject("bert"), TEXT, words=True).parts[0]
    assert [unit.label for unit in part.rows] == [
        "[CLS]",
        "The",
        "bark",
        "of",
        "the",
        "tree",
        ",",
        "said",
        "the",
        "dog",
        ".",
        "[SEP]",
    ]
    plain = attention(subject("bert"), TEXT).parts[0]
    said = part.rows[7].pieces
    assert len(said) > 1
    expected = plain.weights[1, 2][list(said)].mean(0)[list(said)].sum()
    assert part.weights[1, 2, 7, 7] == pytest.approx(expected, abs=1e-6)


def test_rollout_is_the_product_of_layers() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(4), size=(3, 2, 4))
    passed = np.eye(4)
    for layer in range(3):
        mean = (weights[layer, 0] + weights[layer, 1]) / 2
        half = 0.5 * mean + 0.5 * np.eye(4)
        passed = np.array([[sum(half[i, k] * passed[k, j] for k in range(4)) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(rollout(weights), passed)
    assert np.abs(rollout(weights) - rollout(weights[::-1])).max() > 1e-3, "the order of the layers matters"


def test_habits_and_entropy() -> None:
    from nlpipe.inspect.views.attention import _part

    previous = np.eye(4, k=-1)
    previous[0, 0] = 1
    even = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    units = tuple(Unit(str(at), (at,)) for at in range(4))
    part = _part("causal", [torch.tensor(np.stack([previous, even]))[None]], units, units)
    np.testing.assert_allclose(part.habits[0, 0], [0.25, 1, 0, 0.5])
    np.testing.assert_allclose(part.entropy[0], [0, np.log2([1, 2, 3, 4]).mean()], atol=1e-9)


def test_a_real_head_looks_at_the_word_before(minilm: Subject) -> None:
    habits = attention(minilm, "The animal did not cross the street because it was too tired.").parts[0].habits
    assert habits[..., 1].max() > 0.99


def test_letters_become_sounds(g2p: Subject) -> None:
    """The alignment goes through the word from left to right."""
    found = attention(g2p, "transformer")
    assert found.output == "tɹænsfˈɔɹməɹ"
    cross = found.part("cross")
    assert [unit.label for unit in cross.columns][1:-1] == list("transformer")
    sounds = [(unit.label, row) for unit, row in zip(cross.rows, cross.weights[0, 0], strict=True) if not unit.special]
    letters = dict(zip(range(13), (unit.label for unit in cross.columns), strict=True))
    best = [(sound, int(row[1:-1].argmax()) + 1) for sound, row in sounds]
    order = np.corrcoef(range(len(best)), [at for _, at in best])[0, 1]
    assert order > 0.9
    near = {sound: {letters[at], letters.get(at - 1), letters.get(at + 1)} for sound, at in best[:6]}
    for sound, letter in (("t", "t"), ("ɹ", "r"), ("æ", "a"), ("n", "n"), ("s", "s"), ("f", "f")):
        assert letter in near[sound], "each sound is written from beside its letter"


def test_the_output_may_be_given(g2p: Subject) -> None:
    cross = attention(g2p, "cat", "kˈæt").part("cross")
    assert [unit.label for unit in cross.rows] == ["k", "ˈ", "æ", "t", "</s>"]
    own = attention(g2p, "cat").part("cross")
    assert [unit.label for unit in own.rows] == [unit.label for unit in cross.rows], "it is what the model writes"
    np.testing.assert_allclose(own.weights, cross.weights, atol=1e-6)
    assert cross.rollout is None


def test_an_artifact_is_looked_at_as_it_answers(artifact: Path, folder: Callable[[str], Path]) -> None:
    """A model that nlpipe wrote, by its folder and by its run's folder; its adapter takes part."""
    by_run, by_model = attention(artifact, TEXT), attention(artifact / "model", TEXT)
    np.testing.assert_array_equal(by_run.parts[0].weights, by_model.parts[0].weights)
    pure = attention(folder("bert"), TEXT).parts[0].weights
    assert np.abs(by_run.parts[0].weights - pure).max() > 1e-7
    np.testing.assert_allclose(by_run.parts[0].weights, pure, atol=0.2)
