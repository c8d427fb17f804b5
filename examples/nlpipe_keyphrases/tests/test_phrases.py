"""Words, phrases and scores: what needs no model."""

from __future__ import annotations

import numpy as np
import pytest
from nlpipe import DataError, Family
from nlpipe.objectives import WordScores

from nlpipe_keyphrases import KeyphraseExtraction, Keyphrases, Phrase
from nlpipe_keyphrases.task import PlainText, Tagged
from nlpipe_keyphrases.words import plain, read, tags, words

TASK = KeyphraseExtraction(("O", "B", "I"))
OBJECTIVE = TASK.objective(TASK.row()[Family.ENCODER][0])


def answer(text: str, labels: str, probability: float = 0.8) -> WordScores:
    """What a model says that is as sure of each of these labels."""
    values = np.full((len(labels), 3), np.log((1 - probability) / 2))
    values[np.arange(len(labels)), ["OBI".index(label) for label in labels]] = np.log(probability)
    return WordScores(values, words(text))


def test_phrases_are_found_in_any_case_and_spacing() -> None:
    text = "Soil  Moisture, soil moisture and soil."
    assert plain(" Soil\n moisture") == "soil moisture"
    assert tags(text, ["soil moisture"]) == [1, 2, 0, 1, 2, 0, 0, 0]
    assert tags(text, ["soil", "soil moisture"]) == [1, 2, 0, 1, 2, 0, 1, 0], "the longer one first"
    assert tags(text, ["oil", ""]) == [0] * 8, "whole words alone"


@pytest.mark.parametrize(
    ("tagged", "spans"),
    [("", []), ("OO", []), ("BI", [(0, 2)]), ("BB", [(0, 1), (1, 2)]), ("OIIO", [(1, 3)]), ("BOI", [(0, 1), (2, 3)])],
)
def test_tags_are_read(tagged: str, spans: list[tuple[int, int]]) -> None:
    assert list(read(["OBI".index(tag) for tag in tagged])) == spans


def test_a_phrase_is_answered_once_where_it_stands_first() -> None:
    text = "Word embeddings beat tables; word  embeddings win."
    found = TASK.result(answer(text, "BIOOOBIOO"), PlainText(text=text))
    assert found.phrases == (Phrase("Word embeddings", 0, 15, pytest.approx(0.8)),)
    assert Keyphrases.from_dict(found.to_dict()) == found


def test_at_most_so_many_as_asked() -> None:
    text = "one two three"
    asked = TASK.with_call({"top": 2})
    assert [phrase.text for phrase in asked.result(answer(text, "BBB"), PlainText(text=text)).phrases] == ["one", "two"]


def test_what_cannot_be_learnt_is_refused() -> None:
    example = Tagged(text="Only this.", keyphrases=("that",))
    with pytest.raises(DataError, match=r"'that' does not stand in the text; leave it out, or set task\.absent"):
        TASK.gold(example, OBJECTIVE)
    lenient = KeyphraseExtraction(TASK.labels, TASK.Options(absent=True))
    assert lenient.gold(example, OBJECTIVE) == [0, 0, 0]
    assert "1 keyphrases do not stand" in lenient.notes([example], lenient.options)[0]


def test_scores() -> None:
    examples = [Tagged(text="a b c", keyphrases=("a", "b")), Tagged(text="d", keyphrases=())]
    said = [Keyphrases((Phrase("A", 0, 1), Phrase("c", 4, 5))), Keyphrases()]
    assert [metric.score(said, examples) for metric in TASK.metrics] == [0.5, 0.5, 0.5]


def test_the_baseline_knows_what_training_had() -> None:
    train = [Tagged(text="x y", keyphrases=("x y",)), Tagged(text="y", keyphrases=("y",))]
    ((_, found),) = TASK.baselines(train, [Tagged(text="So X  Y it is", keyphrases=())]).items()
    assert [phrase.text for phrase in found[0].phrases] == ["X  Y", "Y"]
