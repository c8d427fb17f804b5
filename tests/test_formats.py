"""Files of a task's own kind, and answers made elsewhere: read, written, scored, and what is said of broken ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlpipe import Answer, DataError, Entities, Span
from nlpipe.data import load_splits, read_table
from nlpipe.plugins import Plugins
from nlpipe.running import evaluate_predictions
from nlpipe_ner import EntityRecognition
from nlpipe_ner.examples import TaggedText
from nlpipe_ner.schemes import Chunk, Scheme, write
from nlpipe_qa import QuestionAnswering
from nlpipe_qa.examples import Answered
from tests.test_cli import Command, nlpipe, refused

__all__ = ["nlpipe"]  # a fixture

CONLL = """-DOCSTART- -X- -X- O

# newdoc id = 1
EU NNP B-NP S-ORG
rejects VBZ B-VP O
Ada\u00a0L NNP B-NP B-PER
Byron NNP I-NP E-PER

#\tO
#now\tS-ORG
\t
Peter\tB-PER
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, Any], str]:
    """Write a file by name: text as it is, anything else as JSON."""

    def make(name: str, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


def tagged(source: Any) -> list[TaggedText]:
    examples: Any = load_splits({"test": source}, TaggedText, {}, seed=1, own=EntityRecognition.formats)[
        "test"
    ].examples
    return list(examples)


def test_conll_columns_are_read(file: Callable[..., str]) -> None:
    path = file("a.conll", CONLL)
    rows = tagged(path)
    assert [row.tokens for row in rows] == [("EU", "rejects", "Ada\u00a0L", "Byron"), ("#", "#now"), ("Peter",)]
    assert rows[0].entities == ((0, 2, "ORG"), (11, 22, "PER"))
    assert tagged({"path": file("b.txt", CONLL.replace("\n", "\r\n")), "format": "conll"}) == rows
    assert read_table(path, own=EntityRecognition.formats).index.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a O\n\nb\nc O\n\nd O", r"row 2 \(line 3\) +line 3 is 'b': one column"),
        ("a O\nb PERS\n", r"row 1 \(line 1\) +line 2 ends in 'PERS', which is no tag"),
        ("\n\n# nothing\n", "has no rows"),
        ("a\tO\n \tB-x\n", "line 2 has no word before its tag 'B-x'"),
        (b"a O\n\xff O\n", "not UTF-8: line 2"),
    ],
)
def test_broken_columns_are_told_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        tagged(str(path))


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes"])
def test_columns_come_back_as_the_same_entities(scheme: Scheme, file: Callable[..., str]) -> None:
    draw = random.Random(3)
    rows, results = [], []
    for _ in range(40):
        at, chunks = 0, []
        while at < 12:
            size = draw.randint(1, 3)
            if draw.random() < 0.5:
                chunks.append(Chunk(at, at + size, draw.choice("xy")))
            at += size
        tokens = tuple(draw.choice(["ba", "'s", "北", "👩‍👩‍👧"]) for _ in range(at))
        row = TaggedText(tokens=tokens, tags=tuple(write(chunks, at, scheme)))
        rows.append(row)
        results.append(Entities(tuple(Span(*entity) for entity in row.entities)))
    form = EntityRecognition.formats["conll"]
    assert form.write is not None
    written = "".join(form.write((row.model_dump(), result) for row, result in zip(rows, results, strict=True)))
    assert len(written.splitlines()[0].split("\t")) == 3  # word, gold tag, answer: what conlleval reads
    again = tagged(file("again.conll", written))
    assert [row.entities for row in again] == [row.entities for row in rows]
    scores = evaluate_predictions("ner", file("again.conll", written), [row.model_dump() for row in rows], bootstrap=0)
    assert scores.scores == {"f1": 1.0, "precision": 1.0, "recall": 1.0}


def test_words_that_columns_cannot_hold() -> None:
    form = EntityRecognition.formats["conll"]
    assert form.write is not None
    with pytest.raises(DataError, match="holds a tab"):
        list(form.write([({"tokens": ["a\tb"]}, Entities(()))]))


GOLD = [
    {"tokens": ["Ada", "Byron", "in", "Rome"], "tags": ["B-PER", "I-PER", "O", "B-LOC"]},
    {"text": "no", "spans": []},
]


@pytest.mark.parametrize(
    "answers",
    [
        [{"tags": ["B-PER", "I-PER", "O", "O"]}, {"tags": ["B-LOC"]}],
        [
            {"tokens": ["Ada Byron", "in", "Rome"], "tags": ["S-PER", "O", "O"]},
            {"tokens": ["n", "o"], "tags": ["B-LOC", "I-LOC"]},
        ],
        [
            {"spans": [{"start": 0, "end": 9, "label": "PER"}]},
            {"predicted_spans": [{"start": 0, "end": 2, "label": "LOC", "text": "no", "score": 0.5}], "spans": []},
        ],
    ],
    ids=["tags", "tokens of their own", "spans"],
)
def test_entities_from_elsewhere(answers: list[Any], file: Callable[..., str]) -> None:
    """By hand: of three entities two are said, one of them right."""
    path = file("said.jsonl", "".join(json.dumps(row) + "\n" for row in answers))
    scores = evaluate_predictions("ner", path, GOLD, bootstrap=0).scores
    assert scores == {"f1": 0.5, "precision": 0.5, "recall": 0.5}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"tags": ["O", "O"]}, r"row 1 +has 2 tags for 4 words"),
        ({"tags": ["O", "O", "X", "O"]}, "'X' is no tag"),
        ({"tokens": ["Ada", "Lovelace"], "tags": ["O", "O"]}, r"tokens\[1\] is 'Lovelace', where .* 'Byron in Rome'"),
        ({"tokens": ["Ada"], "tags": ["O"]}, "the tokens end before the row's text does, at 'Byron in Rome'"),
        ({"spans": [{"start": 0, "end": 99, "label": "PER"}]}, r"spans\[0\] is 0 to 99; the text has 17 characters"),
        ({"spans": [{"start": 1, "end": 4, "label": "PER", "text": "Ada"}]}, "cut 'da '.*Offsets count characters"),
        ({"spans": [{"start": "0", "end": 3, "label": "PER"}]}, r"row 1 +spans.0.start +.*must be a valid integer"),
        ({"names": []}, r"row 1 +spans +is missing; there are: names .it may be called prediction, entities"),
    ],
)
def test_entities_that_are_none_are_told(answer: Any, message: str, file: Callable[..., str]) -> None:
    path = file("said.jsonl", json.dumps(answer) + "\n" + json.dumps({"spans": []}))
    with pytest.raises(DataError, match=message):
        evaluate_predictions("ner", path, GOLD, bootstrap=0)


# SQuAD.

CONTEXT = "The Normans came to Normandy. They were Norse raiders."
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Normans",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {"id": "a", "question": "Who came?", "answers": [{"text": "Normans", "answer_start": 4}]},
                        {
                            "id": "b",
                            "question": "Who were they?",
                            "is_impossible": False,
                            "answers": [
                                {"text": "Norse raiders", "answer_start": 40},
                                {"text": "raiders", "answer_start": 46},
                            ],
                        },
                        {
                            "id": "c",
                            "question": "When?",
                            "is_impossible": True,
                            "answers": [],
                            "plausible_answers": [{"text": "came", "answer_start": 12}],
                        },
                    ],
                }
            ],
        }
    ],
}


def squad(path: str) -> Any:
    source = {"path": path, "format": "squad"}
    return load_splits({"test": source}, Answered, {}, seed=1, own=QuestionAnswering.formats)["test"]


def test_squads_file_is_read(file: Callable[..., str]) -> None:
    split = squad(file("dev.json", SQUAD))
    assert [example.question for example in split.examples] == ["Who came?", "Who were they?", "When?"]
    assert [example.spans for example in split.examples] == [((4, 11),), ((40, 53), (46, 53)), ()]
    assert split.frame["id"].tolist() == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"format +a file of the task's own kind is named so: format: squad"):
        load_splits({"test": file("dev.json", SQUAD)}, Answered, {}, seed=1, own=QuestionAnswering.formats)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ([], "data must be a list; the whole is an object with `data`"),
        ({"data": [{"title": "x"}]}, r"data\[0\] must be an object with 'paragraphs'"),
        ({"data": [{"paragraphs": [{"context": "x", "qas": [{}]}]}]}, r"qas\[0\] must be an object with 'question'"),
        (
            {"data": [{"paragraphs": [{"context": "x", "qas": [{"question": "q", "answers": "x"}]}]}]},
            r"row 1 +data\[0\]\.paragraphs\[0\]\.qas\[0\]\.answers must be a list",
        ),
        (
            {"data": [{"paragraphs": [{"context": "x", "qas": [{"question": "q", "answers": [{"text": "y"}]}]}]}]},
            r"row 1 +answers\.answer_start\[0\] +is empty",
        ),
        (
            {
                "data": [
                    {
                        "paragraphs": [
                            {"context": "xy", "qas": [{"question": "q", "answers": [{"text": "y", "answer_start": 0}]}]}
                        ]
                    }
                ]
            },
            "row 1.*it occurs at 1",
        ),
    ],
)
def test_files_that_are_not_squads_are_told(content: Any, message: str, file: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=message):
        squad(file("dev.json", content))


def squad_scores(file: Callable[..., str], answers: Any) -> Any:
    source = {"path": file("dev.json", SQUAD), "format": "squad"}
    return evaluate_predictions("qa", file("said.json", answers), source, format="squad", bootstrap=0).scores


def test_answers_in_squads_form_are_scored_by_id(file: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    """By hand: the first right but for its article, the second shares one word of two, the third says something."""
    scores = squad_scores(file, {"c": "came", "b": "the Norse", "a": "the Normans"})
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert scores["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert set(squad_scores(file, {"c": "", "b": "raiders", "a": "Normans"}).values()) == {1.0}
    squad_scores(file, {"c": "", "b": "raiders", "a": "Normans", "d": "x"})
    assert "1 answers are to no row" in caplog.text


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"a": "x", "b": "y"}, "no answer to 1 of the 3 rows of .*dev.json, the first of them with the id 'c'"),
        ({"a": "x", "b": None, "c": ""}, "the answer to 'b' must be text, is null"),
        (["x"], "are one object"),
        ({}, "has no rows"),
    ],
)
def test_answers_that_are_not_squads_are_told(answers: Any, message: str, file: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=message):
        squad_scores(file, answers)


def test_answers_are_written_in_squads_form() -> None:
    forms = QuestionAnswering.formats
    results = [Answer("Normans", 4, 11, 0.6, 0.2), Answer("", None, None, 0.7, 0.7, (Answer("x", 0, 1, 0.1, 0.7),))]
    pairs: Any = [({"id": "a"}, results[0]), ({"id": 7}, results[1])]
    assert forms["squad"].write is not None
    assert json.loads("".join(forms["squad"].write(pairs))) == {"a": "Normans", "7": ""}
    assert json.loads("".join(forms["squad"].write([]))) == {}
    assert forms["squad-na"].write is not None
    assert json.loads("".join(forms["squad-na"].write(pairs))) == pytest.approx({"a": 0.25, "7": 0.875})
    with pytest.raises(DataError, match="a row has no `id`"):
        list(forms["squad"].write([({}, results[0])]))


# Answers of every task.

SAID: dict[str, tuple[list[Any], list[Any], str, float]] = {
    "classification": (
        [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
        [{"label": "x"}, {"predicted_label": "x"}],
        "accuracy",
        0.5,
    ),
    "sentiment": ([{"text": "a", "label": "POS"}], [{"label": "positive"}], "accuracy", 1.0),
    "similarity": (
        [{"text_a": "a", "text_b": "b", "score": n} for n in (1, 2, 3)],
        [{"similarity": n} for n in (0.1, 0.3, 0.2)],
        "spearman",
        0.5,
    ),
    "retrieval": (
        [{"query": "q", "positive": "p", "relevant": {"d": 1.0}}],
        [{"documents": [{"id": "e", "similarity": 2.0}, {"id": "d", "similarity": 1.0}]}],
        "mrr@10",
        0.5,
    ),
    "generation": ([{"prompt": "a", "completion": "b"}], [{"text": "b"}], "exact_match", 1.0),
    "translation": ([{"source": "a", "target": "the cat sat"}], [{"text": "the cat sat"}], "chrf", 100.0),
    "summarization": ([{"document": "a b", "summary": "a b"}], [{"text": "a b"}], "rouge1", 1.0),
}


@pytest.mark.parametrize("task", SAID)
def test_answers_of_every_task_are_scored(task: str, file: Callable[..., str]) -> None:
    rows, answers, metric, score = SAID[task]
    path = file("said.jsonl", "".join(json.dumps(answer) + "\n" for answer in answers))
    scores = evaluate_predictions(task, path, rows, bootstrap=0, plugins=Plugins.discover())
    assert scores.scores[metric] == pytest.approx(score)
    assert scores.n == len(rows)


def test_answers_are_matched_by_id_by_row_or_in_order(file: Callable[..., str]) -> None:
    rows = [{"id": n, "text": "a", "label": label} for n, label in enumerate("xyz")]
    said = [{"label": label} for label in "xyz"]
    keyed = [{"id": str(n), **answer} for n, answer in enumerate(said)]
    numbered = [{"row": n, **answer} for n, answer in enumerate(said, 1)]

    def accuracy(answers: list[Any], source: Any = rows) -> float:
        path = file("said.jsonl", "".join(json.dumps(answer) + "\n" for answer in answers))
        return evaluate_predictions("classification", path, source, bootstrap=0).scores["accuracy"]

    bare = [{"text": row["text"], "label": row["label"]} for row in rows]
    assert accuracy(keyed[::-1]) == accuracy(numbered[::-1]) == accuracy(said, bare) == accuracy(keyed, bare) == 1.0
    assert accuracy(said[::-1], bare) == pytest.approx(1 / 3)
    with pytest.raises(DataError, match=r"2 answers, and .* 3 rows; each row needs one"):
        accuracy(said[:2], bare)
    with pytest.raises(DataError, match="row 2: there is an answer to the id '0' already"):
        accuracy([keyed[0], *keyed])
    with pytest.raises(DataError, match=r"row 1 +label +is missing; there are: text"):
        accuracy([{"text": "x"}] * 3, bare)
    with pytest.raises(DataError, match=r"row 1 +a label is a name or a number, not 3.5"):
        accuracy([{"label": 3.5}] * 3, bare)
    assert accuracy([{"label": 3}] * 3, [{"text": "a", "label": 3}] * 3) == 1.0
    several = [{"text": "a", "labels": ["x", "y"]}, {"text": "a", "labels": []}]
    assert accuracy([{"labels": ["y", "x"]}, {"label": None}], several) == 1.0


@pytest.mark.parametrize("task", ["classification", "similarity", "retrieval", "translation", "ner", "qa"])
def test_answers_in_a_table_of_text_are_read_as_they_were_written(task: str, tmp_path: Path) -> None:
    """As `nlpipe predict --output answers.csv` writes them: text as it is, all else as JSON."""
    from nlpipe.writers import open_writer

    cases: dict[str, tuple[list[Any], list[Any]]] = {
        "ner": (GOLD, [{"spans": [{"start": 0, "end": 9, "label": "PER"}]}, {"spans": []}]),
        "qa": (
            [{"question": "q", "context": "a 12", "answers": {"text": ["12"], "answer_start": [2]}}],
            [{"text": "12", "start": 2, "end": 4, "score": 0.5, "no_answer_score": None}],
        ),
    }
    rows, answers = cases[task] if task in cases else SAID[task][:2]
    scores = []
    for name in ("said.jsonl", "said.csv"):
        with open_writer(tmp_path / name) as writer:
            for answer in answers:
                writer.write({key.removeprefix("predicted_"): value for key, value in answer.items()})
        scores.append(evaluate_predictions(task, str(tmp_path / name), rows, bootstrap=0).scores)
    assert scores[0] == scores[1]
    assert max(scores[0].values()) > 0


def test_lines_of_text_are_translations(file: Callable[..., str]) -> None:
    rows = [{"source": "a", "target": "the cat sat on the mat"}, {"source": "b", "target": "a dog"}]
    path = file("said.txt", "the cat sat on the mat\na dog\n")
    assert evaluate_predictions("translation", path, rows, bootstrap=0).scores["bleu"] == pytest.approx(100)


def test_answers_are_scored_from_the_command_line(nlpipe: Command, file: Callable[..., str]) -> None:
    data, answers = file("dev.json", SQUAD), file("said.json", {"a": "Normans", "b": "Norse", "c": ""})
    given = ("evaluate", "--task", "qa", "--predictions", answers, "--data", data)
    own = ("--data-format", "squad", "--predictions-format", "squad")
    ended = nlpipe(*given, *own, "--json", "--bootstrap", "0")
    found = json.loads(ended.out)
    assert found["scores"]["f1"] == pytest.approx(8 / 9)
    assert found["scores"]["exact_match"] == pytest.approx(2 / 3)
    assert found["signatures"]["f1"].startswith("f1|")
    assert "exact_match" in nlpipe(*given, *own).out
    assert json.loads(nlpipe(*given, "--json", "--bootstrap", "0").out)["scores"] == found["scores"]  # told by content
    refused(nlpipe("evaluate", "--data", data, "--predictions", answers), "--predictions needs --task")
    refused(nlpipe("evaluate", "--data", data), "say what to score")
    refused(nlpipe("evaluate", "m", "--data", data, "--option", "a=b"), "--option goes with --predictions")
    refused(nlpipe(*given, *own, "--option", "topk=2"), "topk", "did you mean 'top_k'?")
    refused(
        nlpipe(*given, *own[:2], "--predictions-format", "squat"), "unknown format 'squat'", "did you mean 'squad'?"
    )
