"""Entity recognition without a model: tags, spans, words, decoding, scores, and what is wrong with a row."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpipe import DataError, Entities, Span, UnsupportedError
from nlpipe.data import load_splits
from nlpipe.objectives import TokenLabel
from nlpipe.objectives.base import Words, WordScores
from nlpipe.preparing import golds, noted
from nlpipe.rows import to_record
from nlpipe.task import Family
from nlpipe.testing.odd import odd_texts
from nlpipe_ner import EntityRecognition
from nlpipe_ner.decoding import Automaton
from nlpipe_ner.examples import TaggedText
from nlpipe_ner.recognition import EntityOptions
from nlpipe_ner.schemes import Chunk, Scheme, detect, faults, parse, read, write
from nlpipe_ner.scores import F1, PRECISION, RECALL
from nlpipe_ner.segments import words

LABELS = ("O", "B-x", "I-x", "B-y-z", "I-y-z")
TASK = EntityRecognition(LABELS)
OBJECTIVE = TASK.objective(TokenLabel)


def row(**cells: Any) -> TaggedText:
    return to_record(cells, TaggedText)


def spans(text: str, *found: tuple[int, int, str]) -> TaggedText:
    return row(text=text, spans=[{"start": s, "end": e, "label": label} for s, e, label in found])


def tagged(tags: str, tokens: str = "") -> TaggedText:
    return row(tokens=tokens.split() or ["w"] * len(tags.split()), tags=tags.split())


def said(*found: tuple[int, int, str]) -> Entities:
    return Entities(tuple(Span(*entity) for entity in found))


# Tags.

TAGS = st.lists(st.sampled_from([f"{p}-{t}" for p in "BIES" for t in ("x", "y")] + ["O", "O"]), max_size=12)


@given(TAGS)
def test_tags_are_read_as_seqeval_reads_them(tags: list[str]) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    assert [(c.type, c.first, c.last - 1) for c in read(tags)] == get_entities(tags)


@pytest.mark.parametrize(
    ("tags", "chunks"),
    [  # worked by hand from conlleval's rules
        ("O I-x I-x O", [(1, 3, "x")]),  # I begins where nothing is open
        ("B-x I-y I-y", [(0, 1, "x"), (1, 3, "y")]),  # and where another type is
        ("I-x B-x I-x", [(0, 1, "x"), (1, 3, "x")]),
        ("B-x B-x", [(0, 1, "x"), (1, 2, "x")]),
        ("B-x O I-x", [(0, 1, "x"), (2, 3, "x")]),
        ("B-x I-x E-x S-y", [(0, 3, "x"), (3, 4, "y")]),
        ("B-x L-x U-y M-y", [(0, 2, "x"), (2, 3, "y"), (3, 4, "y")]),
        ("E-x E-x", [(0, 1, "x"), (1, 2, "x")]),
        ("O B-y-z I-y-z", [(1, 3, "y-z")]),
        ("O O", []),
        ("", []),
    ],
)
def test_the_reading_of_tags(tags: str, chunks: list[tuple[int, int, str]]) -> None:
    assert read(tags.split()) == [Chunk(*chunk) for chunk in chunks]


CHUNKS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["x", "y-x", "x-y"])), max_size=6)


@given(CHUNKS, st.sampled_from(["iob1", "iob2", "iobes"]))
def test_spans_to_tags_and_back(sizes: list[tuple[int, int, str]], scheme: Scheme) -> None:
    chunks, at = [], 0
    for gap, size, kind in sizes:
        chunks.append(Chunk(at + gap, at + gap + size, kind))
        at += gap + size
    tags = write(chunks, at + 1, scheme)
    assert read(tags) == chunks
    assert faults(tags, scheme) == []
    if chunks:
        assert faults([*tags[: chunks[0].first], "E-q", *tags[chunks[0].first + 1 :]], scheme)


def test_schemes_look_as_they_should() -> None:
    chunks = [Chunk(0, 2, "x"), Chunk(2, 3, "x"), Chunk(3, 4, "y")]
    assert write(chunks, 5, "iob2") == ["B-x", "I-x", "B-x", "B-y", "O"]
    assert write(chunks, 5, "iob1") == ["I-x", "I-x", "B-x", "I-y", "O"]
    assert write(chunks, 5, "iobes") == ["B-x", "E-x", "S-x", "S-y", "O"]
    assert faults(["B-x", "L-x", "U-x", "U-y", "O"], "iobes") == []


def test_the_scheme_is_detected() -> None:
    chunks = [[Chunk(0, 2, "x"), Chunk(2, 3, "x")], [Chunk(1, 3, "y")]]
    for scheme in ("iob1", "iob2", "iobes"):
        assert detect([write(row, 4, scheme) for row in chunks]) == scheme  # type: ignore[arg-type]
    broken = [*[["B-x", "I-x", "O"]] * 9, ["O", "I-x", "O"]]
    assert detect(broken) == "iob2"
    assert detect([]) == "iob2"


@pytest.mark.parametrize("tag", ["", "X", "B", "B-", "b-x", "-x", "PER", "B_x", "B- "])
def test_what_is_no_tag(tag: str) -> None:
    assert parse(tag) is None
    with pytest.raises(ValueError, match="is no tag"):
        read([tag])


# Words of a raw text.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ada's 3.14 a_b", ["Ada", "'", "s", "3", ".", "14", "a", "_", "b"]),
        ("e\u0301te\u0301 \u0301", ["e\u0301te\u0301", "\u0301"]),
        ("北京ab 東", ["北", "京", "ab", "東"]),
        ("ราคา", ["รา"[0], "า", "ค", "า"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("نمی\u200cخواهم", ["نمی\u200cخواهم"]),  # the joiner within a word
        ("a\u200bb \u200d \ufeff", ["a", "b"]),
        ("👍🏽❤\ufe0f", ["👍", "🏽", "❤\ufe0f"]),
        ("\x00a\x07\tb\u3000c\u2028", ["a", "b", "c"]),
        (" \n", []),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in words(text)] == found


def test_every_visible_character_is_in_one_word() -> None:
    import unicodedata

    for text in odd_texts(500, seed=3):
        spans = words(text)
        assert all(0 <= s < e <= len(text) for s, e in spans)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
        inside = {at for s, e in spans for at in range(s, e)}
        for at, character in enumerate(text):
            category = unicodedata.category(character)
            if category[0] in "LNPSM" or category == "Co":
                assert at in inside, (text, at)
            if category in {"Zs", "Zl", "Zp", "Cc"}:
                assert at not in inside, (text, at)


# Rows.


def test_both_forms_of_a_row_mean_the_same() -> None:
    one = tagged("B-x I-x O B-y-z", "Ada Lovelace in London")
    two = spans("Ada Lovelace in London", (0, 12, "x"), (16, 22, "y-z"))
    assert one.entities == two.entities == ((0, 12, "x"), (16, 22, "y-z"))
    assert one.whole == two.whole
    assert TASK.gold(one, OBJECTIVE) == TASK.gold(two, OBJECTIVE) == [1, 2, 0, 3]
    assert TASK.query(TASK.given(one), OBJECTIVE) == TASK.query(TASK.given(two), OBJECTIVE)
    given = TASK.given(one)
    assert not hasattr(given, "tags")


@given(st.integers(0, 10**6))
def test_no_span_is_lost_or_shifted(seed: int) -> None:
    """Spans to tags of the words, through the scores of a certain model, and back."""
    draw = random.Random(seed)
    text = odd_texts(1, seed=seed)[0]
    there = words(text)
    cuts = sorted(draw.sample(range(len(there) + 1), draw.randint(0, len(there) + 1)))
    wanted = [(there[a][0], there[b - 1][1], draw.choice(["x", "y-z"])) for a, b in itertools.pairwise(cuts)][::2]
    example = spans(text, *wanted)
    assert list(example.entities) == wanted
    certain = np.full((len(there), len(LABELS)), -30.0)
    certain[np.arange(len(there)), TASK.gold(example, OBJECTIVE)] = 0.0
    result = TASK.result(WordScores(certain, there), TASK.given(example))
    assert [(s.start, s.end, s.label) for s in result.spans] == wanted
    assert all(s.text == text[s.start : s.end] and s.score == 1.0 for s in result.spans)
    assert F1.score([result], [example]) == (1.0 if wanted else 0.0)


def test_spaces_at_the_ends_of_a_span_count_for_nothing() -> None:
    example = spans("so Ada Lovelace\u200b said", (2, 16, "x"))
    assert example.entities == ((3, 15, "x"),)
    assert TASK.gold(example, OBJECTIVE) == [0, 1, 2, 0]


def test_a_span_that_ends_within_a_word() -> None:
    example = spans("in NewYork", (6, 10, "x"))
    with pytest.raises(DataError, match=r"6 to 10 \(x\) is 'York'.*whole words it is 'NewYork'.*misaligned: widen"):
        TASK.gold(example, OBJECTIVE)
    wide = EntityRecognition(LABELS, EntityOptions(misaligned="widen"))
    assert wide.gold(example, OBJECTIVE) == [0, 1]
    assert example.entities == ((6, 10, "x"),)  # scored as it stands
    assert F1.score([said((3, 10, "x"))], [example]) == 0.0
    both = wide.notes([spans("in NewYork", (6, 10, "x"), (3, 6, "x"))], wide.options)
    assert [note[:12] for note in both] == ["1 gold spans", "2 gold spans"]  # in whole words they are one
    (note,) = wide.notes([example, spans("a", (0, 1, "x"))], wide.options)
    assert note.startswith("1 gold spans end within a word")
    assert "'York' (x)" in note


def test_overlapping_spans() -> None:
    text = "University of New York City"
    example = spans(text, (14, 22, "x"), (0, 22, "y-z"), (14, 27, "x"), (0, 22, "x"))
    assert TASK.gold(example, OBJECTIVE) == [1, 2, 2, 2, 0]
    assert example.chunks == ([Chunk(0, 4, "x")], [(0, 22, "y-z"), (14, 27, "x"), (14, 22, "x")])
    assert spans("New York City Hall", (0, 8, "x"), (4, 18, "x")).chunks == ([Chunk(1, 4, "x")], [(0, 8, "x")])
    assert len(example.entities) == 4  # all are scored
    assert RECALL.score([said((0, 22, "x"))], [example]) == 0.25
    (note,) = TASK.notes([example], TASK.options)
    assert note.startswith("3 gold spans in 1 rows overlap others")
    assert "is not learnt: 'University of New York' (y-z)" in note
    twice = spans("a b", (0, 1, "x"), (0, 1, "x"))
    assert "is not learnt: 'a' (x)" in TASK.notes([twice], TASK.options)[0]
    assert TASK.notes([spans("a b", (0, 1, "x"), (2, 3, "x"))], TASK.options) == ()


def test_repaired_tags_are_counted() -> None:
    good = [tagged("B-x I-x O")] * 9
    (note,) = TASK.notes([*good, tagged("O I-x B-x", "ba be bi"), tagged("I-x")], TASK.options)
    assert note.startswith("2 tags in 2 rows are ill-formed IOB2")
    assert note.endswith("the first is I-x at 'be'")
    assert pickle.loads(pickle.dumps(copy.deepcopy(note))).at == note.at == {9: "I-x at 'be'", 10: "I-x at 'w'"}  # type: ignore[attr-defined]
    assert TASK.notes(good, TASK.options) == ()
    assert TASK.notes([tagged("I-x I-x O B-y-z")], EntityOptions(scheme="iob1"))
    assert TASK.notes([tagged("I-x B-x O")], EntityOptions(scheme="iob1")) == ()
    assert TASK.notes([tagged("B-x L-x U-x")], EntityOptions(scheme="bilou")) == ()
    assert TASK.gold(tagged("O I-x I-x"), OBJECTIVE) == [0, 1, 2]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "lengths": ({"tokens": ["a", "b"], "tags": ["O"]}, "has 2 tokens and 1 tags"),
    "unknown tag": ({"tokens": ["a"], "tags": ["PER"]}, r"tags\[0\] is 'PER'; a tag is O, or B-"),
    "empty token": ({"tokens": ["a", " "], "tags": ["O", "O"]}, r"tokens\[1\] is empty"),
    "no tags": ({"tokens": ["a"]}, "`tags` is missing"),
    "no spans": ({"text": "a"}, "`spans` is missing; a text without entities has"),
    "neither": ({"tags": ["O"]}, "neither `text` nor `tokens`"),
    "both": ({"text": "a", "tokens": ["a"], "tags": ["O"]}, "both, `text` and `tokens`"),
    "mixed": ({"text": "a", "spans": [], "tags": ["O"]}, "`tags` does not go with `text`"),
    "behind": ({"text": "abc", "spans": [{"start": 1, "end": 4, "label": "x"}]}, r"spans\[0\] is 1 to 4.*3 characters"),
    "before": ({"text": "abc", "spans": [{"start": -1, "end": 2, "label": "x"}]}, r"spans\[0\] is -1 to 2"),
    "backwards": ({"text": "abc", "spans": [{"start": 2, "end": 2, "label": "x"}]}, r"spans\[0\] is 2 to 2"),
    "no label": ({"text": "abc", "spans": [{"start": 0, "end": 2, "label": " "}]}, r"spans\[0\].label is empty"),
    "spaces": ({"text": "a  b", "spans": [{"start": 1, "end": 3, "label": "x"}]}, "covers no word, only '  '"),
    "other text": (
        {"text": "abc", "spans": [{"start": 0, "end": 2, "label": "x", "text": "bc"}]},
        "says 'bc', but its offsets 0 to 2 cut 'ab'",
    ),
    "number": ({"tokens": ["a", "b"], "tags": [0, 3]}, "tags.*must be text, is 0"),
    "text start": ({"text": "abc", "spans": [{"start": "0", "end": 2, "label": "x"}]}, "start.*must be a whole number"),
    "no list": ({"text": "abc", "spans": {"start": 0}}, "spans.*must be a list"),
}


@pytest.mark.parametrize(("cells", "message"), BAD.values(), ids=BAD)
def test_bad_rows_are_told_by_number(cells: dict[str, Any], message: str) -> None:
    good = {"tokens": ["a"], "tags": ["O"]} if "tokens" in cells else {"text": "a", "spans": []}
    with pytest.raises(DataError, match=f"(?s)row 2.*{message}"):
        load_splits({"train": [good, cells]}, TaggedText, {}, seed=1)


def test_a_type_that_training_does_not_have() -> None:
    split = load_splits({"test": [{"tokens": ["a"], "tags": ["B-q"]}]}, TaggedText, {}, seed=1)["test"]
    with pytest.raises(DataError, match=r"row 1 .*type 'q' does not occur in training.*there are: x, y-z"):
        golds(TASK, OBJECTIVE, split)


def test_notes_reach_the_log_with_their_source(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a", "b"], "tags": ["B-x", "I-y-z"]}\n')
    split = load_splits({"test": str(file)}, TaggedText, {}, seed=1)["test"]
    with caplog.at_level(logging.WARNING, "nlpipe"):
        (note,) = noted(TASK, split)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "a.jsonl (test): 1 tags in 1 rows are ill-formed IOB2" in message
    assert message.endswith("the first is I-y-z at 'b' (row 2)")
    assert (note.split, note.count, note.rows) == ("test", 1, (2,))


def test_labels_do_not_depend_on_the_order_of_rows() -> None:
    rows = [tagged("B-b I-b O"), spans("a b", (0, 1, "A")), tagged("S-a O")]
    wanted = ("O", "B-A", "I-A", "B-a", "I-a", "B-b", "I-b")
    for order in itertools.permutations(rows):
        assert EntityRecognition.labels_in(order, EntityOptions()) == wanted
    with pytest.raises(DataError, match="no training row has any entity"):
        EntityRecognition.labels_in([tagged("O O")], EntityOptions())


def test_labels_that_are_no_tags_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"LABEL_0, LABEL_1"):
        EntityRecognition(("LABEL_0", "LABEL_1")).objective(TokenLabel)


def test_samples_are_good_rows_and_the_row_has_every_family() -> None:
    samples = EntityRecognition.samples()
    task = EntityRecognition(EntityRecognition.labels_in(samples, EntityOptions()))
    for sample in samples:
        gold = task.gold(sample, task.objective(TokenLabel))
        assert len(gold) == len(sample.words)
    assert samples[0].entities[0][:2] == (0, 12)
    assert set(EntityRecognition.row()) == set(Family)


# Decoding.


def allowed(labels: tuple[str, ...], path: tuple[int, ...]) -> bool:
    """By the definition: what the labels spell, written again, is the same."""
    tags = [labels[at] for at in path]
    scheme: Scheme = "iobes" if any(label[0] in "ES" for label in labels) else "iob2"
    return faults(tags, scheme) == []


SETS = [LABELS[:3], LABELS, ("O", "B-x", "I-x", "E-x", "S-x"), ("B-x", "O", "I-x")]


@pytest.mark.parametrize("labels", SETS)
def test_decoding_finds_the_likeliest_valid_sequence(labels: tuple[str, ...]) -> None:
    automaton, draw = Automaton.of(labels), np.random.default_rng(0)
    for length in (1, 2, 3, 4, 4, 4):
        scores = np.log(draw.dirichlet(np.ones(len(labels)), length))
        paths = [p for p in itertools.product(range(len(labels)), repeat=length) if allowed(labels, p)]
        assert len(paths) < len(labels) ** length or labels == ("O",)
        best = max(paths, key=lambda path: sum(scores[at, label] for at, label in enumerate(path)))
        assert tuple(automaton.path(scores)) == best


def test_labels_of_other_models() -> None:
    bare = Automaton.of(("O", "I-x", "[CLS]"))  # no B: I begins
    certain = np.log(np.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]]))
    assert [chunk for chunk, _ in bare.decode(certain)] == [Chunk(0, 2, "x")]


def test_the_confidence_is_the_geometric_mean() -> None:
    scores = np.log(np.array([[0.1, 0.8, 0.1], [0.25, 0.25, 0.5], [0.98, 0.01, 0.01]]))
    ((chunk, confidence),) = Automaton.of(LABELS[:3]).decode(scores)
    assert chunk == Chunk(0, 2, "x")
    assert confidence == pytest.approx((0.8 * 0.5) ** 0.5)
    assert Automaton.of(LABELS[:3]).decode(np.zeros((0, 3))) == []


def test_an_answer_and_its_json() -> None:
    given = TASK.Input(tokens=("Ada", "in", "New", "York"))
    query = TASK.query(given, OBJECTIVE)
    assert isinstance(query, Words)
    scores = np.log(np.full((4, 5), 0.01))
    scores[[0, 1, 2, 3], [1, 0, 3, 4]] = np.log(0.96)
    result = TASK.result(WordScores(scores, query.words), given)
    assert [(s.start, s.end, s.label, s.text) for s in result.spans] == [(0, 3, "x", "Ada"), (7, 15, "y-z", "New York")]
    data = result.to_dict()
    assert data["spans"][0] == {"start": 0, "end": 3, "label": "x", "score": result.spans[0].score, "text": "Ada"}
    assert Entities.from_dict(data) == result
    assert isinstance(data["spans"][0]["score"], float)


# Scores.


@given(st.lists(st.tuples(CHUNKS, CHUNKS), min_size=1, max_size=8))
def test_scores_equal_seqevals(pairs: list[tuple[Any, Any]]) -> None:
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    gold, answers = [], []
    for sides in pairs:
        made = []
        for sizes in sides:
            chunks, at = [], 0
            for gap, size, kind in sizes:
                chunks.append(Chunk(at + gap, at + gap + size, kind))
                at += gap + size
            made.append(chunks)
        length = 1 + max((chunk.last for chunks in made for chunk in chunks), default=0)
        right, wrong = (write(chunks, length) for chunks in made)
        gold.append(right)
        answers.append(wrong)
    rows = [tagged(" ".join(tags)) for tags in gold]
    results = [said(*tagged(" ".join(tags)).entities) for tags in answers]
    options: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    assert F1.score(results, rows) == pytest.approx(f1_score(gold, answers, **options))
    assert PRECISION.score(results, rows) == pytest.approx(precision_score(gold, answers, **options))
    assert RECALL.score(results, rows) == pytest.approx(recall_score(gold, answers, **options))


def test_scores_of_ill_formed_tags_are_conllevals() -> None:
    """conlleval reads O I-x as an entity; strict seqeval would not. By hand: of gold's 2, 1 is found, 1 is too many."""
    gold = tagged("O I-x I-x O B-x", "a b c d e")
    assert gold.entities == ((2, 5, "x"), (8, 9, "x"))
    answer = said((2, 5, "x"), (8, 9, "y-z"))
    assert F1.rows([answer], [gold]).tolist() == [[1.0, 1.0, 1.0]]
    assert (F1.score([answer], [gold]), PRECISION.score([answer], [gold])) == (0.5, 0.5)


def test_the_usual_tag_is_learnt_from_training_alone() -> None:
    train = [tagged("B-x O", "Ada runs"), tagged("B-x I-x", "Ada runs"), tagged("O O", "London runs")]
    (name, (first, second)), *_ = TASK.baselines(train, [tagged("B-x O", "London Ada"), tagged("O", "new")]).items()
    assert name
    assert [(s.text, s.label, s.score) for s in first.spans] == [("Ada", "x", None)]
    assert second.spans == ()
