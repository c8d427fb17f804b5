"""The kit's checks of objectives over those of the core, and that they see what they are there for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nlpipe.objectives import AnswerSpan, CausalText, Embedding, Seq2SeqText, SequenceLabel, TokenLabel
from nlpipe.objectives.base import Passage, Prompt, Row, Segment, Text, Texts, Words
from nlpipe.testing import CheckFailed, Lab, objective_cases, objective_checks
from nlpipe.testing.odd import long_text
from nlpipe.testing.rules import FILLERS

SHORT, LONG = "ba be", long_text(FILLERS, 150)
LABELS = ("no", "yes")
ONE_OF_EACH = ("bert", "gpt2", "t5")


def words(text: str) -> Words:
    spans, at = [], 0
    for word in text.split():
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return Words(text, tuple(spans))


def prompt(text: str) -> Prompt:
    return Prompt((Segment(text, "pieces"), Segment(" :", "whole")))


LABELLED = [(Text(SHORT), 0), (Text("bo"), 1), (Text(LONG), 1)]


@objective_checks(SequenceLabel(labels=LABELS), pairs=LABELLED, labels=LABELS, architectures=ONE_OF_EACH)
class TestSequenceLabel: ...


@objective_checks(
    TokenLabel(labels=LABELS),
    pairs=[(words(SHORT), [0, 1]), (words("bo"), [1]), (words(LONG), [0, 1] * 75)],
    labels=LABELS,
    architectures=ONE_OF_EACH,
)
class TestTokenLabel: ...


@objective_checks(
    AnswerSpan(),
    pairs=[(Passage("ba", SHORT), ((0, 2),)), (Passage("be", "bo"), ()), (Passage("ba", LONG), ((0, 2),))],
    architectures=ONE_OF_EACH,
)
class TestAnswerSpan: ...


@objective_checks(
    Embedding(),
    pairs=[(Texts((SHORT, "bo")), 1.0), (Texts(("bo", SHORT)), 0.0), (Texts((LONG, SHORT)), 0.5)],
    architectures=ONE_OF_EACH,
)
class TestEmbedding: ...


WRITTEN = [(prompt(SHORT), "ba"), (prompt("bo"), "be bi bo"), (prompt(LONG), "ba")]


@objective_checks(CausalText(), pairs=WRITTEN, architectures=["gpt2"])
class TestCausalText: ...


@objective_checks(Seq2SeqText(), pairs=WRITTEN, architectures=["bart"])
class TestSeq2SeqText: ...


@dataclass(frozen=True, kw_only=True)
class Mean(SequenceLabel):
    """The model's own mean for a loss, and one window for an answer."""

    def loss(self, outputs: Mapping[str, Any], batch: Any) -> Any:
        return super().loss(outputs, batch) / len(batch.rows)

    def join(self, query: Text, rows: Sequence[Row], raws: Sequence[Any]) -> Any:
        return super().join(query, rows[:1], raws[:1])


@pytest.mark.parametrize(
    ("name", "message"), [("losses_add_up", "loss of a batch"), ("every_row_counts", "could say anything")]
)
def test_a_wrong_objective_is_found_out(name: str, message: str, tmp_path: Path) -> None:
    cases = objective_cases(Mean(labels=LABELS), pairs=LABELLED, labels=LABELS, architectures=["bert"])
    (case,) = [case for case in cases if case.check.name == name]
    with pytest.raises(CheckFailed, match=message):
        case.run(Lab(tmp_path))
