"""Answers made elsewhere in whatever files: told by content, one a line, beside their rows, in several files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nlpipe.errors import DataError
from nlpipe.evaluation import Scores
from nlpipe.running import evaluate_predictions
from tests.test_cli import Command, nlpipe, refused
from tests.test_formats import SQUAD

__all__ = ["nlpipe"]  # a fixture


class Folder:
    """Files by name, and the scores of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, name: str, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        if isinstance(content, list) and name.endswith((".jsonl", ".jsonl.gz")):
            text = "".join(json.dumps(row) + "\n" for row in content)
        data = text.encode()
        (self.path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(self.path / name)

    def scores(self, task: str, answers: Any, data: Any, name: str = "said.jsonl", **more: Any) -> dict[str, float]:
        return dict(self.measure(task, answers, data, name, **more).scores)

    def measure(self, task: str, answers: Any, data: Any, name: str = "said.jsonl", **more: Any) -> Scores:
        source = data if data is None else {"path": self(*data)} if isinstance(data, tuple) else data
        return evaluate_predictions(task, self(name, answers), source, bootstrap=0, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


LABELLED = [{"id": "p", "text": "a", "label": "x"}, {"id": "q", "text": "b", "label": "y"}]


@pytest.mark.parametrize(
    "answers",
    [
        [{"prediction": "x"}, {"prediction": "x"}],
        [{"id": "q", "pred": "x"}, {"id": "p", "pred": "x"}],
        [{"text": "a", "label": "x", "prediction": "x"}, {"text": "b", "label": "y", "prediction": "x"}],
        [{"text": "a", "label": "x", "predicted_label": "x"}, {"text": "b", "label": "y", "predicted_label": "x"}],
        [{"prediction": {"label": "x", "score": 0.9}}, {"prediction": {"label": "x", "score": 0.8}}],
        [{"scores": {"x": 0.7, "y": 0.3}}, {"probabilities": {"x": 0.6, "y": 0.4}}],
        [{"prediction": [{"label": "y", "score": 0.1}, {"label": "x", "score": 0.9}]}, {"class": "x"}],
        [{"labels": ["x"]}, {"prediction": ["x"]}],
    ],
    ids=["prediction", "by id", "beside a gold label", "predicted_", "nested", "scores", "list of scores", "lists"],
)
def test_labels_under_any_of_their_names(answers: Any, folder: Folder) -> None:
    assert folder.scores("classification", answers, ("data.jsonl.gz", LABELLED))["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("said.json", {"q": "x", "p": "x"}),
        ("said.json", ["x", "x"]),
        ("said.json", {"p": {"label": "x"}, "q": {"label": "x", "score": 1.0}}),
        ("said.txt", "x\nx\n"),
        ("said.out", "x\r\nx\r\n"),
        ("said", "x\nx"),
        ("said.csv", "id,prediction\nq,x\np,x\n"),
        ("said.tsv", "label\tscore\nx\t0.5\nx\t0.7\n"),
        ("answers", '{"label": "x"}\n{"label": "x"}\n'),
    ],
)
def test_labels_in_any_file(name: str, answers: Any, folder: Folder) -> None:
    assert folder.scores("classification", answers, ("data.jsonl", LABELLED), name)["accuracy"] == 0.5


def test_right_labels_alone(folder: Folder) -> None:
    assert (
        folder.scores("sentiment", "pos\nneg\n", ("gold.labels", "positive\npositive\n"), "said.txt")["accuracy"] == 0.5
    )


@pytest.mark.parametrize("answer", ["007", "true", "1e-3", "null"])
def test_labels_in_tables_of_text_stay_text(answer: str, folder: Folder) -> None:
    rows = [{"text": "a", "label": answer}, {"text": "b", "label": "other"}]
    assert folder.scores("classification", f"prediction\n{answer}\n{answer}\n", rows, "said.csv")["accuracy"] == 0.5


def test_rows_without_right_answers_are_not_taken_for_wrong(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"2 of 2 rows have no `label`"):
        folder.scores("classification", [{"label": "x"}] * 2, [{"text": "a", "intent": "x"}] * 2)


def test_answers_beside_their_rows_need_no_second_file(folder: Folder, nlpipe: Command) -> None:
    rows = [{**row, "prediction": "x"} for row in LABELLED]
    assert folder.scores("classification", rows, None)["accuracy"] == 0.5
    assert folder.scores("classification", rows, ("said.jsonl", rows))["accuracy"] == 0.5
    with pytest.raises(DataError, match="has no answer beside the row, called predicted_label or prediction"):
        folder.scores("classification", LABELLED, None)
    ended = nlpipe("evaluate", "--task", "classification", "--predictions", folder("said.jsonl", rows), "--json")
    assert json.loads(ended.out)["scores"]["accuracy"] == 0.5
    refused(nlpipe("evaluate", "some/model"), "--data FILE")


def test_one_text_a_line_against_several_files_of_right_ones(folder: Folder, nlpipe: Command) -> None:
    from sacrebleu.metrics.bleu import BLEU

    said, first, second = ["the cat", "a dog ran", ""], ["a cat", "a dog runs", "x"], ["the cat", "one dog ran", "y"]
    files = [
        folder(name, "\n".join(lines) + "\n") for name, lines in (("hyp.de", said), ("r0.de", first), ("r1.de", second))
    ]
    ended = nlpipe(
        "evaluate", "--task", "translation", "--predictions", files[0], "--data", files[1], "--data", files[2], "--json"
    )
    found, theirs = json.loads(ended.out), BLEU(force=True)
    assert found["scores"]["bleu"] == theirs.corpus_score(said, [first, second]).score
    assert found["signatures"]["bleu"] == f"BLEU|{theirs.get_signature()}"
    refused(
        nlpipe("evaluate", "--task", "translation", "--predictions", files[0], "--data", files[1], "--data", "no.de"),
        "there is no file no.de",
    )
    short = folder("short.de", "x\n")
    refused(
        nlpipe("evaluate", "--task", "translation", "--predictions", files[0], "--data", files[1], "--data", short),
        "has 1 lines", "3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name", "metric"),
    [
        ("translation", "translation", "chrf"),
        ("summarization", "summary", "rouge1"),
        ("generation", "completion", "exact_match"),
        ("generative_qa", "answer", "f1"),
    ],
)
def test_texts_of_every_task_that_writes(task: str, name: str, metric: str, folder: Folder) -> None:
    """One a line, under their own names, and without what a model would have been asked."""
    lines = "red fox\nblue bird\n"
    full = folder.scores(task, lines, ("right.txt", lines), "said.txt")[metric]
    assert full in {1.0, 100.0}
    assert folder.scores(task, [{name: "red fox"}, {"text": "blue bird"}], ("right.txt", lines))[metric] == full
    half = folder.scores(task, [{name: "red fox"}, {"generated_text": "x"}], ("right.txt", lines))[metric]
    assert half < full


def test_targets_alone_in_a_table(folder: Folder) -> None:
    rows = [{"target": "the cat sat"}, {"targets": ["a dog", "the dog"]}]
    found = folder.measure("translation", [{"text": "the cat sat"}, {"text": "the dog"}], ("refs.jsonl", rows))
    assert found.scores["chrf"] == pytest.approx(100)
    assert "|nrefs:var|" in found.signatures["chrf"]


def test_similarities_one_a_line(folder: Folder) -> None:
    found = folder.scores("similarity", "0.1\n0.9\n0.5\n", ("gs.txt", "1.0\n5.0\n2.5\n"), "said.txt")
    assert found["spearman"] == pytest.approx(1)
    rows = [{"text_a": "a", "text_b": "b", "score": n} for n in (1, 5, 2.5)]
    assert folder.scores("similarity", [{"score": n} for n in (1, 2, 3)], rows)["spearman"] == pytest.approx(0.5)
    with pytest.raises(DataError, match="'x' is no number"):
        folder.scores("similarity", "0.1\nx\n0.5\n", rows, "said.txt")
    with pytest.raises(DataError, match=r"gs.txt, line 2: 'five' is no number"):
        folder.scores("similarity", "0.1\n2\n", ("gs.txt", "1\nfive\n"), "said.txt")


# Entities

GOLD = "Ada B-PER\nByron I-PER\nin O\nRome B-LOC\n\nno O\n"
SAID = "Ada B-PER\nByron I-PER\nin O\nRome B-ORG\n\nno B-LOC\n"
BOTH = "Ada NNP B-PER B-PER\nByron NNP I-PER I-PER\nin IN O O\nRome NNP B-LOC B-ORG\n\nno X O B-LOC\n"


@pytest.mark.parametrize("name", ["said.txt", "said.conll", "said", "said.tsv", "eng.testb"])
def test_columns_of_tags_are_told_by_what_is_in_them(name: str, folder: Folder) -> None:
    """By hand: one of two entities is right, of three said."""
    right = {"f1": pytest.approx(0.4), "precision": pytest.approx(1 / 3), "recall": 0.5}
    tabs = "\t" if name.endswith("tsv") else " "
    assert folder.scores("ner", SAID.replace(" ", tabs), ("gold.iob2", GOLD), name) == right
    assert folder.scores("ner", BOTH.replace(" ", tabs), None, name) == right
    assert folder.scores("ner", BOTH.replace(" ", tabs), (name, BOTH.replace(" ", tabs)), name) == right
    tags = "".join(line.rpartition(" ")[2] + "\n" for line in SAID.split("\n")[:-1])
    assert folder.scores("ner", tags, ("gold.iob2", GOLD), name) == right


def test_words_that_are_written_otherwise_still_have_their_tags(folder: Folder) -> None:
    lower = SAID.replace("Ada", "ada").replace("Rome", "<unk>")
    assert folder.scores("ner", lower, ("gold.txt", GOLD), "said.txt")["recall"] == 0.5
    with pytest.raises(DataError, match="where the row's text goes on 'Ada Byron in Rome'"):
        folder.scores("ner", "w B-PER\nx I-PER\ny O\nz O\n\nno O\n", ("gold.txt", GOLD), "said.txt")


def test_a_file_without_right_tags_is_not_scored_alone(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"line 1 has no word, right tag and answered tag"):
        folder.scores("ner", SAID, None, "said.conll")


@pytest.mark.parametrize(
    "spans",
    [
        [{"start": 0, "end": 9, "type": "PER"}],
        [{"start": 0, "end": 9, "entity_group": "PER", "word": "ada byron", "score": 0.9}],
        [[0, 9, "PER"]],
        ["B-PER", "I-PER", "O", "O"],
    ],
)
@pytest.mark.parametrize("name", ["spans", "entities", "prediction", "predicted_spans"])
def test_entities_under_the_names_of_others(name: str, spans: Any, folder: Folder) -> None:
    rows = [{"tokens": ["Ada", "Byron", "in", "Rome"], "tags": ["B-PER", "I-PER", "O", "B-LOC"]}]
    assert folder.scores("ner", [{**rows[0], name: spans} if name[0] == "p" else {name: spans}], rows)["recall"] == 0.5


# Questions


def test_squads_files_are_told_by_what_is_in_them(folder: Folder) -> None:
    said = {"c": "came", "b": "the Norse", "a": "the Normans"}
    expected = {"exact_match": pytest.approx(1 / 3), "f1": pytest.approx(5 / 9)}
    expected |= {"has_answer_exact_match": 0.5, "has_answer_f1": pytest.approx(5 / 6)}
    expected |= {"no_answer_exact_match": 0.0, "no_answer_f1": 0.0}
    for name in ("said.json", "said", "said.json.gz"):
        assert folder.scores("qa", said, ("dev-v2.0.json", SQUAD), name) == expected
    rows = [{"id": key, "prediction_text": text, "no_answer_probability": 0.0} for key, text in said.items()]
    # Of equal chances the rows' order decides: best before the last, where something is said that should not be.
    best = {"best_exact": pytest.approx(2 / 3), "best_f1": pytest.approx(8 / 9)}
    best |= {"best_exact_thresh": 0.0, "best_f1_thresh": 0.0}
    assert folder.scores("qa", rows, ("dev", SQUAD)) == expected | best


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("r.jsonl", [{"id": "a", "answers": {"text": ["in Paris", "Paris"], "answer_start": [9, 9]}}]),
        ("r.jsonl", [{"id": "a", "context": "in Paris", "answers": {"text": ["x", "Paris"], "answer_start": [1, 3]}}]),
        ("r.jsonl", [{"id": "a", "question": "", "answers": ["Lyon", "Paris"]}]),
        ("r.jsonl", [{"id": "a", "answers": "Paris"}]),
        ("r.txt", "Paris\n"),
        ("r.json", {"data": [{"paragraphs": [{"context": "", "qas": [
            {"id": "a", "question": "Where?", "answers": [{"text": "Paris"}]}]}]}]}),
    ],
)  # fmt: skip
def test_right_answers_need_no_places_to_be_scored_by(name: str, rows: Any, folder: Folder) -> None:
    said = [{"id": "a", "prediction_text": "the Paris."}]
    assert folder.scores("qa", said, (name, rows)) == {"f1": 1.0, "exact_match": 1.0}


def test_a_line_without_a_right_answer_is_a_question_without_one(folder: Folder) -> None:
    found = folder.scores("qa", "Paris\n\nx\n", ("right.txt", "Paris\n\n\n"), "said.txt")
    assert found["has_answer_f1"] == 1.0
    assert found["no_answer_f1"] == 0.5


# Rankings

QRELS = "1 0 a 2\n1 0 b 0\n1 0 c 1\n2 0 a 1\n3 0 b 1\n"
RUN = "1 Q0 b 1 9.0 sys\n1 Q0 a 2 8.5 sys\n1 Q0 x 3 1.0 sys\n2 Q0 x 1 2.0 sys\n2 Q0 a 2 2.0 sys\n9 Q0 a 1 1 sys\n"


@pytest.mark.parametrize(
    ("qrels", "data"),
    [
        ("qrels.txt", QRELS),
        ("test.tsv", "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n1\tc\t1\n2\ta\t1\n3\tb\t1\n"),
        ("qrels.json", {"1": {"a": 2, "b": 0, "c": 1}, "2": {"a": 1}, "3": {"b": 1}}),
        (
            "qrels.jsonl",
            [
                {"query_id": q, "doc_id": d, "relevance": r}
                for q, d, r in [(1, "a", 2), (1, "b", 0), (1, "c", 1), (2, "a", 1), (3, "b", 1)]
            ],
        ),
    ],
)
@pytest.mark.parametrize(
    ("run", "answers"),
    [
        ("run.trec", RUN),
        ("run", {"1": {"b": 9.0, "a": 8.5, "x": 1.0}, "2": {"a": 2.0, "x": 2.0}, "9": {"a": 1.0}}),
        ("run.jsonl", [{"id": "1", "documents": ["b", "a", "x"]}, {"id": 2, "documents": [["x", 2], ["a", 2]]}]),
        ("run.jsonl", [{"qid": "1", "docid": d, "score": s} for d, s in (("x", 1), ("a", 8.5), ("b", 9))]
         + [{"qid": "2", "docid": d, "score": 2} for d in "ax"]),
    ],
)  # fmt: skip
def test_rankings_are_scored_as_trec_eval_does(
    qrels: str, data: Any, run: str, answers: Any, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """By hand. Of equally scored documents the later id comes first; a query without a ranking counts as 0."""
    import math

    found = folder.measure("retrieval", answers, (qrels, data), run, metrics=["map@10"])
    best = 2 + 1 / math.log2(3)
    assert found.scores["ndcg@10"] == pytest.approx(((2 / math.log2(3)) / best + 1 / math.log2(3) + 0) / 3)
    assert found.scores["mrr@10"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert found.scores["recall@10"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found.scores["map@10"] == pytest.approx((1 / 4 + 1 / 2 + 0) / 3)
    assert "no answer to 1 of 3 rows" in caplog.text


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("1 Q0 a 1 9 s\n1 Q0 a 2 8 s\n", "the query '1' has the document 'a' already"),
        ("1 Q0 a 1 9 s\n1 Q0 a 2\n", "line 2 is '1 Q0 a 2', and no line of a run"),
        ("7 Q0 a 1 9 s\n", "no answer to 3 of the 3 rows"),
    ],
)
def test_runs_that_are_none_are_told(run: str, message: str, folder: Folder) -> None:
    with pytest.raises(DataError, match=message):
        folder.scores("retrieval", run, ("qrels.trec", QRELS), "run.trec")


def test_likelihoods(folder: Folder) -> None:
    found = folder.scores("language_modelling", [{"logprob": -4.0, "tokens": 2}], ("t.jsonl", [{"text": "abcd"}]))
    assert found["perplexity"] == pytest.approx(7.389056)


@pytest.mark.parametrize("order", [("said.json", "na.json"), ("na.json", "said.json")])
def test_chances_of_no_answer_come_in_a_file_of_their_own(order: tuple[str, str], folder: Folder) -> None:
    """By hand, over a (right), b (F1 2/3) and c (none, and something said): without any answer one is right; a adds 1,

    b 0 or 2/3 and c takes its own away, if its chance is below. Odds on any scale will do.
    """
    said = {"a": "the Normans", "b": "the Norse", "c": "came"}
    files = [folder("said.json", said), folder("na.json", {"a": -7.5, "b": 0.2, "c": 3})]
    given = [str(folder.path / name) for name in order]
    assert sorted(given) == sorted(files)
    scores = evaluate_predictions("qa", given, {"path": folder("dev.json", SQUAD)}, bootstrap=20).scores
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert scores["has_answer_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["no_answer_f1"] == 0.0
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (pytest.approx(2 / 3), -7.5)
    assert (scores["best_f1"], scores["best_f1_thresh"]) == (pytest.approx((1 + 1 + 2 / 3) / 3), 0.2)
    assert "best_f1" not in folder.scores("qa", said, ("dev.json", SQUAD), "said.json")
    with pytest.raises(DataError, match="a second --predictions"):
        folder.scores("qa", said, ("dev.json", SQUAD), "said.json", metrics=["best_f1"])
