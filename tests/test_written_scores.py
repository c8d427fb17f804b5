"""Scores of written texts: several right ones, other scripts, stems and lines, as the libraries that own them count."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nlpipe import evaluation
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.metrics_text import SHIFTED, common_subsequence, edits
from nlpipe.results import Text
from nlpipe_generation import Writing
from nlpipe_summarization import Summarization
from nlpipe_translation import Translation

SAID = ["the cat sat on the mat", "a small dog", "", "Straße — 3.5 Häuser!", "one &amp; two"]
FIRST = ["the cat sat on a mat", "a very small dog barked", "nothing", "Straße — 3.5 Häuser.", "one"]
SECOND = ["a cat was on the mat", "the small dog", "", "Drei Häuser in der Straße!", "one & two"]


def texts(said: list[str]) -> list[Text]:
    return [Text(text) for text in said]


def measured(task: Any, said: list[str], rows: list[Any], metrics: tuple[str, ...] = ()) -> evaluation.Scores:
    return evaluation.evaluate(task, texts(said), rows, metrics=metrics, bootstrap=0)


COUNTS = {"one": 1, "two": 2, "some": "var"}


@pytest.mark.parametrize("several", ["one", "two", "some"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_translations_are_scored_as_sacrebleu_does(several: str, lowercase: bool) -> None:
    right: dict[str, list[tuple[str, ...]]] = {
        "one": [(one,) for one in FIRST],
        "two": list(zip(FIRST, SECOND, strict=True)),
        "some": [(one, other) if at % 2 else (one,) for at, (one, other) in enumerate(zip(FIRST, SECOND, strict=True))],
    }
    rows = [Translation.Example(source="x", targets=all_of) for all_of in right[several]]
    streams: Any = [FIRST]
    if several != "one":
        streams = [FIRST, [row.targets[1] if len(row.targets) > 1 else None for row in rows]]
    task = Translation(options=Translation.Options(lowercase=lowercase))
    found = measured(task, SAID, rows, ("chrf++",))
    theirs: dict[str, Any] = {
        "bleu": BLEU(lowercase=lowercase, force=True),
        "chrf": CHRF(lowercase=lowercase),
        "ter": TER(),
        "chrf++": CHRF(word_order=2),
    }
    for name, metric in theirs.items():
        score = metric.corpus_score(SAID, streams)
        assert found.scores[name] == score.score, name
        assert found.signatures[name] == f"{score.name}|{metric.get_signature()}"
    assert f"|nrefs:{COUNTS[several]}|" in found.signatures["bleu"]


def test_a_bleu_of_two_references_by_hand() -> None:
    """All n-grams stand in the second; of the lengths 5 and 7 the nearest to 5 is 5, so that none is lacking.

    Two words lead to the second, whose 7 words and the first's 5 are 6 in the mean.
    """
    row = Translation.Example(source="x", targets=("the big dog barks loudly", "a big red dog barks loudly today"))
    one = measured(Translation(), ["big red dog barks loudly"], [row])
    assert one.scores["bleu"] == pytest.approx(100)
    assert one.scores["ter"] == pytest.approx(100 * 2 / 6)


@pytest.mark.parametrize(
    ("language", "said", "right", "tokenizer"),
    [
        ("zh", "我喜欢红色的狗。", "我喜欢红狗。", "zh"),
        ("zho_Hans", "他来了", "他走了", "zh"),
        ("de", "Ja.", "Ja!", "13a"),
    ],
)
def test_the_language_chooses_the_words(language: str, said: str, right: str, tokenizer: str) -> None:
    rows = [Translation.Example(source="x", target=right, target_lang=language)]
    theirs = BLEU(tokenize=tokenizer)
    for task, row in (
        (Translation(), rows[0]),
        (
            Translation(options=Translation.Options(target_lang=language)),
            rows[0].model_copy(update={"target_lang": None}),
        ),
    ):
        found = measured(task, [said], [row])
        assert found.scores["bleu"] == theirs.corpus_score([said], [[right]]).score
        assert found.signatures["bleu"] == f"BLEU|{theirs.get_signature()}"


def test_a_tokenizer_that_is_not_installed(caplog: pytest.LogCaptureFixture) -> None:
    rows = [Translation.Example(source="x", target="犬が好き", target_lang="ja")]
    found = measured(Translation(), ["犬が好き"], rows)
    assert found.scores["bleu"] == pytest.approx(100)
    assert "|tok:char|" in found.signatures["bleu"] or "ja-mecab" in found.signatures["bleu"]
    named = Translation(options=Translation.Options(tokenize="ko-mecab"))
    with pytest.raises(UnsupportedError, match=r"pip install 'sacrebleu\[ko\]', or take char"):
        measured(named, ["x"], rows)


SUMMARIES = [
    ("The cats were running.\nThey jumped over fences.", "A cat runs and jumps.\nFences are jumped over."),
    ("He naïvely visited the café", "he naively visits cafés"),
    ("one line. two sentences", "two lines. a sentence"),
    ("", "nothing at all"),
    ("...", "!!!"),
]


@pytest.mark.parametrize("stemmer", [True, False])
def test_rouge_is_rouge_scores_to_the_last_digit(stemmer: bool) -> None:
    """With its own words, stems, and lines; accents and underlines as it reads them."""
    names = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(names, use_stemmer=stemmer)
    task = Summarization(options=Summarization.Options(stemmer=stemmer))
    for said, right in SUMMARIES:
        row = Summarization.Example(document="d", summaries=(right, "the_other one is naïve"))
        theirs = scorer.score_multi(list(row.references), said)
        found = measured(task, [said], [row])
        assert found.scores == {name: theirs[name].fmeasure for name in names}
    assert found.signatures["rouge1"] == (
        f"rouge1|f1|best-reference|words:ascii,other-scripts:unicode|stem:{'porter' if stemmer else 'no'}"
        "|rouge_score:0.1.2"
    )


def test_rouge_by_hand() -> None:
    """`dogs` and `dog` are one stem, `run` and `running` too: 2 of 3 words are found in 2 of 2, and no pair."""
    row = Summarization.Example(document="d", summary="a dog runs")
    found = measured(Summarization(), ["running dogs"], [row]).scores
    assert found["rouge1"] == pytest.approx(2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3))
    assert found["rouge2"] == 0.0
    assert found["rougeL"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    plain = measured(Summarization(options=Summarization.Options(stemmer=False)), ["running dogs"], [row])
    assert plain.scores["rouge1"] == 0.0


def test_rows_in_another_script_are_read_in_its_words() -> None:
    """By hand: 2 of 3 words, 4 of 5 characters. rouge_score's own tokenizer finds no words in either."""
    pairs = [("лиса видит птиц", "лиса видит рыб", 2 / 3), ("速い犬が来", "速い犬が寝", 4 / 5)]
    for said, right, share in pairs:
        row = Summarization.Example(document="d", summary=right)
        assert measured(Summarization(), [said], [row]).scores["rouge1"] == pytest.approx(share)
        ascii_words = Summarization(options=Summarization.Options(words="ascii"))
        assert measured(ascii_words, [said], [row]).scores["rouge1"] == 0.0


def test_sentences_are_lines_where_a_text_has_none() -> None:
    said, right = "A cat sat. It slept.", "It slept. A cat sat."
    row = Summarization.Example(document="d", summary=right)
    split = Summarization(options=Summarization.Options(lines="split"))
    assert measured(split, [said], [row]).scores["rougeLsum"] == pytest.approx(1.0)
    assert measured(Summarization(), [said], [row]).scores["rougeLsum"] < 1.0
    assert "|lines:split|" in measured(split, [said], [row]).signatures["rougeLsum"]


def test_a_text_is_right_if_it_is_one_of_the_right_ones() -> None:
    rows = [Writing.Example(prompt="p", completions=("yes", "it is")), Writing.Example(prompt="p", completion="no")]
    found = measured(Writing(), [" it is", "yes"], rows, ("distinct-1", "distinct-2"))
    assert found.scores["exact_match"] == 0.5
    assert found.scores["distinct-1"] == 1.0
    assert found.signatures["chrf"].startswith("chrF2|nrefs:var|")
    said = ["the cat sat, the cat slept.", "the cat"]
    found = measured(Writing(), said, rows, ("distinct-1", "distinct-2"))
    assert found.scores["distinct-1"] == pytest.approx(6 / 10)  # the cat sat , slept . / 8 and 2 words
    assert found.scores["distinct-2"] == pytest.approx(6 / 8)  # of 7 and 1 pairs `the cat` stands there three times


@pytest.mark.parametrize("task", [Translation, Summarization, Writing])
def test_rows_without_a_right_text_are_not_scored(task: Any) -> None:
    field = next(name for name in task.Input.model_fields if name in {"source", "document", "prompt"})
    with pytest.raises(DataError, match=r"1 of 1 rows have no"):
        measured(task(), ["x"], [task.Example(**{field: "x"})])


def test_rouge_of_a_very_long_text_takes_no_table_of_all_pairs_of_words() -> None:
    """One of 50,000 words beside one of 1,000: rouge_score's own would have 50 million cells."""
    words = [f"w{at % 997}" for at in range(50_000)]
    row = Summarization.Example(document="d", summary=" ".join(words))
    found = measured(Summarization(options=Summarization.Options(stemmer=False)), [" ".join(words[100:1100])], [row])
    assert found.scores["rougeL"] == found.scores["rougeLsum"] == pytest.approx(2 * 1000 / 51_000)


def table(one: str, other: str) -> tuple[int, int]:
    """The longest common subsequence and the edit distance, cell by cell."""
    common, distance = [[0] * (len(other) + 1)], [list(range(len(other) + 1))]
    for at, word in enumerate(one, 1):
        common.append([0])
        distance.append([at])
        for to, said in enumerate(other, 1):
            same, left, up = word == said, (at, to - 1), (at - 1, to)
            common[at].append(common[at - 1][to - 1] + 1 if same else max(common[i][j] for i, j in (left, up)))
            distance[at].append(
                min(distance[at - 1][to - 1] + (not same), *(distance[i][j] + 1 for i, j in (left, up)))
            )
    return common[-1][-1], distance[-1][-1]


@given(one=st.text("abcd", max_size=12), other=st.text("abcd", max_size=12))
def test_words_in_common_and_edits_are_those_of_the_whole_table(one: str, other: str) -> None:
    assert (common_subsequence(one, other), edits(one, other)) == table(one, other)


def test_ter_of_a_very_long_text_is_said_to_have_no_shifts(caplog: pytest.LogCaptureFixture) -> None:
    draw = random.Random(1)
    right = draw.choices([f"w{at}" for at in range(500)], k=SHIFTED + 1)
    rows = [Translation.Example(source="x", target=text) for text in (*[" ".join(right)] * 2, "a b c d e")]
    found = measured(Translation(), [*[" ".join([*right[1:], "more"])] * 2, "d e a b c"], rows).scores["ter"]
    assert found == pytest.approx(100 * (2 + 2 + 1) / (2 * (SHIFTED + 1) + 5))  # two edited; two shifted, as one edit
    assert caplog.text.count(f"texts of over {SHIFTED} words are compared without shifts") == 1
