"""Every metric on hard cases beside whoever owns its definition: the table of docs/evaluation.md.

`python -m tests.score_table` writes it; tests/test_score_table.py holds it, and that both columns are the same.
References are the owning library called directly, or the definition worked by hand with the sum written out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlpipe.metrics import Metric
from nlpipe.plugins import Plugins
from nlpipe.results import Answer, Entities, Label, Likelihood, Ranked, Ranking, Similarity, Text
from nlpipe.task import Task

PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"
START, END = "<!-- scores: python -m tests.score_table -->\n", "<!-- end of scores -->\n"

TASKS = Plugins.discover().tasks


@dataclass(frozen=True, slots=True)
class Line:
    """One metric on one case, ours and the reference's number, and where the reference is from."""

    metric: str
    case: str
    ours: float
    theirs: float
    source: str


def metric(task: Task[Any, Any, Any, Any], name: str) -> Metric:
    """The task's metric of a name."""
    fixed = [one for one in (*task.metrics, *task.further) if one.name == name]
    return (fixed or [*(task.named(name) or ())])[0]


def score(name: str, results: Sequence[Any], rows: Sequence[Any], task: str, **options: Any) -> float:
    """Our number."""
    kind = TASKS[task]
    made = kind(options=kind.Options(**options))
    return metric(made, name).score(results, rows)


def lines() -> Iterator[Line]:
    """The whole table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scikit-learn and seqeval have to say of shares of nothing
        for part in (labels, several_labels, chances, entities, answers, thresholds, summaries, translations):
            yield from part()
        for part in (written, similarities, rankings, likelihoods):
            yield from part()


def labels() -> Iterator[Line]:
    """One label a row; `d` is only ever right and `e` only answered."""
    from sklearn import metrics as sk

    gold, said = list("aabbbccdab"), list("abbbacceab")
    example = TASKS["classification"].Example
    rows = [example(text="t", label=one) for one in gold]
    results = [Label(one, None, {}, (one,)) for one in said]
    theirs = {
        "accuracy": sk.accuracy_score(gold, said),
        "macro_f1": sk.f1_score(gold, said, average="macro"),
        "micro_f1": sk.f1_score(gold, said, average="micro"),
        "weighted_f1": sk.f1_score(gold, said, average="weighted"),
        "macro_precision": sk.precision_score(gold, said, average="macro"),
        "macro_recall": sk.recall_score(gold, said, average="macro"),
        "f1:b": sk.f1_score(gold, said, labels=["b"], average="macro"),
        "mcc": sk.matthews_corrcoef(gold, said),
    }
    for name, value in theirs.items():
        case = "a label never answered, one never right"
        yield Line(name, case, score(name, results, rows, "classification"), value, "scikit-learn")


def several_labels() -> Iterator[Line]:
    """Any number of labels, none among them."""
    from sklearn import metrics as sk
    from sklearn.preprocessing import MultiLabelBinarizer

    gold, said = [["a", "b"], [], ["c"], ["a"]], [["a"], [], ["b", "c"], []]
    example = TASKS["classification"].Example
    rows = [example(text="t", labels=tuple(one)) for one in gold]
    results = [Label(one[0] if one else None, None, {}, tuple(one)) for one in said]
    made = MultiLabelBinarizer().fit([*gold, *said])
    right, answered = made.transform(gold), made.transform(said)
    theirs = {
        "accuracy": sk.accuracy_score(right, answered),
        "macro_f1": sk.f1_score(right, answered, average="macro"),
        "micro_f1": sk.f1_score(right, answered, average="micro"),
        "samples_f1": sk.f1_score(right, answered, average="samples", zero_division=1),
        "hamming_loss": sk.hamming_loss(right, answered),
        "mcc": sk.matthews_corrcoef(right.ravel(), answered.ravel()),
    }
    for name, value in theirs.items():
        yield Line(name, "several labels, or none", score(name, results, rows, "classification"), value, "scikit-learn")


def chances() -> Iterator[Line]:
    """Probabilities."""
    from sklearn.metrics import brier_score_loss

    shares, held = [0.95, 0.85, 0.65, 0.15, 0.55], [1, 0, 1, 0, 0]
    example = TASKS["classification"].Example
    rows = [example(text="t", label="a" if one else "b") for one in held]
    results = [
        Label("a" if p > 0.5 else "b", max(p, 1 - p), {"a": p, "b": 1 - p}, ("a" if p > 0.5 else "b",)) for p in shares
    ]
    found = score("brier", results, rows, "classification")
    yield Line("brier", "two labels: twice that of one", found, 2 * brier_score_loss(held, shares), "scikit-learn")
    # Answers 0.95 right; 0.85 wrong and 0.85 right; 0.65 right; 0.55 wrong: a bin each of 1, 2, 1 and 1 rows.
    by_hand = (abs(0.95 - 1) + abs(2 * 0.85 - 1) + abs(0.65 - 1) + abs(0.55 - 0)) / 5
    found = score("ece", results, rows, "classification")
    yield Line("ece", "bins of 1, 2, 1 and 1 answers", found, by_hand, "by hand (Guo et al. 2017)")


TAGS = [
    (["I-PER", "I-PER", "O", "B-LOC"], ["B-PER", "I-PER", "O", "I-LOC"]),
    (["B-PER", "I-LOC", "O"], ["B-PER", "I-PER", "O"]),
    (["O", "B-ORG", "I-ORG", "I-ORG"], ["O", "I-ORG", "B-ORG", "I-ORG"]),
    (["O", "O"], ["B-PER", "O"]),
]


def read_tags(pairs: Sequence[tuple[list[str], list[str]]]) -> tuple[list[Entities], list[Any]]:
    """Gold and answered tags as our rows and results."""
    task = TASKS["ner"]()
    rows = [task.Example(tokens=tuple("w" * len(gold)), tags=tuple(gold)) for gold, _ in pairs]
    told = [task.told({"tags": said}, row) for (_, said), row in zip(pairs, rows, strict=True)]
    return [Entities.from_dict(one) for one in told], rows


def entities() -> Iterator[Line]:
    """Tags that are not well-formed, in gold and answers."""
    from seqeval import metrics as seq
    from seqeval.scheme import IOB2

    results, rows = read_tags(TAGS)
    gold, said = ([pair[at] for pair in TAGS] for at in (0, 1))
    scores = {"f1": seq.f1_score, "precision": seq.precision_score, "recall": seq.recall_score}
    case = "ill-formed IOB2"
    for name, theirs in scores.items():
        yield Line(name, case, score(name, results, rows, "ner"), theirs(gold, said), "seqeval")
        strict = theirs(gold, said, mode="strict", scheme=IOB2)
        yield Line(f"strict_{name}", case, score(f"strict_{name}", results, rows, "ner"), strict, "seqeval, strict")
    macro = seq.f1_score(gold, said, average="macro")
    yield Line("macro_f1", case, score("macro_f1", results, rows, "ner"), macro, "seqeval")
    report = seq.classification_report(gold, said, output_dict=True)
    yield Line("f1:PER", case, score("f1:PER", results, rows, "ner"), report["PER"]["f1-score"], "seqeval")
    # conlleval reads PER 0-2, LOC 3; PER 0, LOC 1; ORG 1-4 · and PER 0-2, LOC 3; PER 0-2; ORG 1, ORG 2-4; PER 0.
    found = score("f1", results, rows, "ner")
    yield Line("f1", case, found, 2 * 2 / (5 + 6), "by hand (conlleval): 2 right, 5 there, 6 said")
    yield from _borders()
    yield from _surface_forms()
    yield from _iob1()


def _borders() -> Iterator[Line]:
    pairs = [
        (["B-PER", "I-PER", "O"], ["B-LOC", "I-LOC", "O"]),
        (["B-ORG", "I-ORG", "O", "B-PER"], ["B-ORG", "B-ORG", "B-ORG", "B-PER"]),
    ]
    hand = {"f1": 2 * 2 / (3 + 5), "precision": 2 / 5, "recall": 2 / 3}
    for name, value in hand.items():
        found = score(f"borders_{name}", *read_tags(pairs), "ner")
        yield Line(
            f"borders_{name}", "a wrong type, and one cut in two", found, value, "by hand: 2 right, 3 there, 5 said"
        )


def _surface_forms() -> Iterator[Line]:
    """Rome twice, once as a group, and Ada; said are Rome at its place, Bob twice, and Ada where she is not."""
    task = TASKS["ner"]()
    rows = [
        (("Rome", "Rome", "met", "Ada"), ("B-LOC", "B-GROUP", "O", "B-PER"), ["B-LOC", "O", "O", "O"]),
        (("Bob", "Rome", "Ada"), ("O", "B-LOC", "O"), ["B-PER", "O", "B-PER"]),
        (("Bob",), ("O",), ["B-PER"]),
    ]
    examples = [task.Example(tokens=tokens, tags=tags) for tokens, tags, _ in rows]
    results = [
        Entities.from_dict(task.told({"tags": said}, row)) for (*_, said), row in zip(rows, examples, strict=True)
    ]
    hand = {"f1": 2 * 1 / (3 + 3), "precision": 1 / 3, "recall": 1 / 3}
    why = "by hand (WNUT 2017): Rome; of Rome, Rome (group), Ada; said Rome, Bob, Ada"
    for name, value in hand.items():
        found = score(f"surface_{name}", results, examples, "ner")
        yield Line(f"surface_{name}", "a form twice, one found elsewhere", found, value, why)


def _iob1() -> Iterator[Line]:
    """As seqeval has IOB1: B only behind an entity of its type."""
    from seqeval import metrics as seq
    from seqeval.scheme import IOB1

    gold = [["I-PER", "B-PER", "I-LOC", "O", "I-PER"], ["B-PER", "O", "I-LOC"]]
    said = [["I-PER", "B-PER", "I-LOC", "O", "B-PER"], ["I-PER", "O", "I-LOC"]]
    results, rows = read_tags(list(zip(gold, said, strict=True)))
    for name, theirs in (("f1", seq.f1_score), ("precision", seq.precision_score), ("recall", seq.recall_score)):
        found = score(f"strict_{name}", results, rows, "ner", scheme="iob1")
        value = theirs(gold, said, mode="strict", scheme=IOB1)
        yield Line(f"strict_{name}", "IOB1, a B that nothing is before", found, value, "seqeval, strict")


def asked(*right: str) -> Any:
    """A question with these right answers."""
    starts = np.cumsum([0, *(len(text) + 1 for text in right)])[: len(right)]
    answers = {"text": right, "answer_start": tuple(int(at) for at in starts)}
    return TASKS["qa"].Example(question="q", context=" ".join(right) or "c", answers=answers)


def answers() -> Iterator[Line]:
    """SQuAD's scripts, worked by hand."""
    cases: list[tuple[str, str, tuple[str, ...], float, float, str]] = [
        ("articles and punctuation", "The U.S.A., an idea!", ("usa idea",), 1, 1, "usa idea = usa idea"),
        ("an article within a word", "theatre", ("atre",), 0, 0, "theatre ≠ atre"),
        ("several right answers", "Norse raiders", ("raiders", "the Norse"), 0, 2 / 3, "best of 2·½·1/(½+1) twice"),
        ("a word said twice", "to to be", ("to be be",), 0, 2 / 3, "2 of 3 words shared"),
        ("no answer, rightly", "", (), 1, 1, "nothing = nothing"),
        ("no answer, wrongly", "", ("x",), 0, 0, "nothing ≠ x"),
        ("a dash of its own script", "1990–91", ("1990-91",), 0, 0, "199091 ≠ 1990–91: the long dash is no ASCII"),
        ("Cyrillic", "в Москве", ("Москве",), 0, 2 / 3, "1 of 2 words, 1 of 1"),
        ("only an article is right", "the", ("the", "x"), 0, 0, "2.0 leaves right answers of nothing out: '' ≠ x"),
    ]
    for case, said, right, exact, f1, why in cases:
        for name, value in (("exact_match", exact), ("f1", f1)):
            found = score(name, [Answer(said, None, None)], [asked(*right)], "qa")
            yield Line(name, f"{case}: {said!r} for {list(right)}", found, value, f"by hand (SQuAD 2.0): {why}")
    for name, value in (("exact_match", 1.0), ("f1", 0.0)):
        found = score(name, [Answer("the", None, None)], [asked("the", "x")], "qa", script="squad-1.1")
        case = "only an article is right: 'the' for ['the', 'x']"
        yield Line(name, case, found, value, "by hand (SQuAD 1.1): '' = '', no word shared")


def thresholds() -> Iterator[Line]:
    """find_best_thresh: two of four have an answer; scores of what was said 1, 0.5; chances 0.1, 0.3, 0.6, 0.9."""
    rows = [asked("x"), asked(), asked("x y z"), asked()]
    said = [("x", 0.1), ("no", 0.3), ("x", 0.6), ("", 0.9)]
    results = [Answer(text, None, None, None, chance) for text, chance in said]
    hand = {
        "best_exact": (3 / 4, "2 right without, +1, −1, +0, +0 of 4"),
        "best_exact_thresh": (0.1, "best behind the first"),
        "best_f1": (3 / 4, "2 right without, +1, −1, +½, +0 of 4"),
        "best_f1_thresh": (0.1, "best behind the first"),
        "has_answer_exact_match": (1 / 2, "1 of 2"),
        "has_answer_f1": (3 / 4, "(1 + ½) of 2"),
        "no_answer_exact_match": (1 / 2, "1 of 2"),
        "no_answer_f1": (1 / 2, "1 of 2"),
    }
    for name, (value, why) in hand.items():
        found = score(name, results, rows, "qa")
        yield Line(name, "questions without an answer", found, value, f"by hand (SQuAD 2.0): {why}")


def summaries() -> Iterator[Line]:
    """rouge_score itself, with its stemmer."""
    from rouge_score.rouge_scorer import RougeScorer

    names = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(names, use_stemmer=True)
    example = TASKS["summarization"].Example
    cases = {
        "stems, lines": ("Cats were running.\nThey jumped fences.", ["A cat runs and jumps.\nFences are jumped."]),
        "several right ones": ("the cat sat", ["a dog ran", "the cat slept", "sat the cat"]),
        "accents, underlines": ("He naïvely visited the_café", ["he naively visits cafés"]),
        "an empty answer": ("", ["something"]),
    }
    for case, (said, right) in cases.items():
        theirs = scorer.score_multi(right, said)
        row = example(document="d", summaries=tuple(right))
        for name in names:
            found = score(name, [Text(said)], [row], "summarization")
            yield Line(name, case, found, theirs[name].fmeasure, "rouge_score, use_stemmer")
    for case, said, right, value in (
        ("identical Cyrillic", "лиса видит птиц", "лиса видит птиц", 1.0),
        ("Japanese: 4 of 5 characters", "速い犬が来", "速い犬が寝", 4 / 5),
    ):
        found = score("rouge1", [Text(said)], [example(document="d", summary=right)], "summarization")
        yield Line("rouge1", case, found, value, "by hand (rouge_score alone: 0)")


def translations() -> Iterator[Line]:
    """sacreBLEU itself."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    said = ["the cat sat on the mat", "", "Straße — 3.5 Häuser!", "he is &quot;here&quot;"]
    first = ["the cat sat on a mat", "nothing", "Straße — 3.5 Häuser.", 'he is "here"']
    second = ["a cat was on the mat", "nothing at all", "Drei Häuser in der Straße!", 'he was "here"']
    example = TASKS["translation"].Example
    owners: dict[str, Any] = {"bleu": BLEU(), "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": TER()}
    for case, streams in {"an empty answer": [first], "two right ones": [first, second]}.items():
        rows = [example(source="s", targets=right) for right in zip(*streams, strict=True)]
        for name, owner in owners.items():
            found = score(name, list(map(Text, said)), rows, "translation")
            yield Line(name, case, found, owner.corpus_score(said, streams).score, "sacreBLEU")
    row, theirs = (
        example(source="s", target="我喜欢红狗。"),
        BLEU(tokenize="zh").corpus_score(["我喜欢红色的狗。"], [["我喜欢红狗。"]]),
    )
    found = score("bleu", [Text("我喜欢红色的狗。")], [row], "translation", target_lang="zh")
    yield Line("bleu", "Chinese", found, theirs.score, "sacreBLEU, tok:zh")


def written() -> Iterator[Line]:
    """Generated texts."""
    from sacrebleu.metrics.chrf import CHRF

    example = TASKS["generation"].Example
    rows = [example(prompt="p", completions=("yes", "it is")), example(prompt="p", completion="no way")]
    results = [Text(" it is"), Text("no no way")]
    found = score("exact_match", results, rows, "generation")
    yield Line("exact_match", "several right ones, space around", found, 1 / 2, "by hand: 1 of 2")
    theirs = CHRF().corpus_score([one.text for one in results], [["yes", "no way"], ["it is", None]])  # type: ignore[list-item]
    yield Line("chrf", "one and two right ones", score("chrf", results, rows, "generation"), theirs.score, "sacreBLEU")
    yield Line(
        "distinct-1", "two texts", score("distinct-1", results, rows, "generation"), 4 / 5, "by hand: it is no way"
    )
    found = score("distinct-2", results, rows, "generation")
    yield Line("distinct-2", "two texts", found, 3 / 3, "by hand: it-is, no-no, no-way")
    found = score("distinct-3", [Text("no no no no way"), Text("no no no")], rows, "generation")
    yield Line("distinct-3", "two texts", found, 2 / 4, "by hand: no-no-no thrice, no-no-way")


def similarities() -> Iterator[Line]:
    """Ties, and scales that differ."""
    from scipy.stats import pearsonr, spearmanr

    right, said = [0.0, 1.0, 1.0, 3.0, 5.0], [-0.2, 0.9, 0.1, 0.9, 0.8]
    rows = [TASKS["similarity"].Example(text_a="a", text_b="b", score=one) for one in right]
    results = [Similarity(one, "cosine") for one in said]
    for name, owner in (("spearman", spearmanr), ("pearson", pearsonr)):
        yield Line(
            name, "ties on both sides", score(name, results, rows, "similarity"), float(owner(right, said)[0]), "scipy"
        )


def rankings() -> Iterator[Line]:
    """Graded relevance, documents without judgement, fewer than ten."""
    from sklearn.metrics import ndcg_score

    judged = {"a": 3.0, "b": 0.0, "c": 1.0, "d": 2.0, "e": 1.0}
    order = ["b", "c", "x", "a", "d"]
    row = TASKS["retrieval"].Example(query="q", relevant=judged)
    result = Ranking(tuple(Ranked(name, -float(at)) for at, name in enumerate(order)))
    every = [*order, "e"]  # the library must be told all that is judged; e was not found, so it comes last and scores
    gains, places = [judged.get(name, 0.0) for name in every], [-float(at) for at in range(len(every))]
    found = score("ndcg@5", [result], [row], "retrieval")
    yield Line(
        "ndcg@5", "graded, one unjudged, one not found", found, ndcg_score([gains], [places], k=5), "scikit-learn"
    )
    best = 3 + 2 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    said = 1 / math.log2(3) + 3 / math.log2(5) + 2 / math.log2(6)
    hand = {
        "ndcg@10": (said / best, "gains 0 1 0 3 2 over 3 2 1 1"),
        "mrr@10": (1 / 2, "1 / 2"),
        "recall@10": (3 / 4, "3 of 4"),
        "precision@10": (3 / 10, "3 of 10 places"),
        "map@10": ((1 / 2 + 2 / 4 + 3 / 5) / 4, "(1/2 + 2/4 + 3/5) / 4"),
        "recall@2": (1 / 4, "1 of 4"),
    }
    for name, (value, why) in hand.items():
        found = score(name, [result], [row], "retrieval")
        yield Line(name, "graded, one unjudged, one not found", found, value, f"by hand (trec_eval): {why}")


def likelihoods() -> Iterator[Line]:
    """A long and a short text."""
    rows = [TASKS["language_modelling"].Example(text=text) for text in ("ab", "äöü…")]
    results = [Likelihood(-math.log(8), 3, 2.0), Likelihood(-math.log(32), 1, 32.0)]
    hand = {
        "perplexity": (4.0, "exp(ln(8·32) / 4 tokens)"),
        "bits_per_character": (8 / 6, "8 bits, 6 characters"),
        "bits_per_byte": (8 / 11, "8 bits, 11 bytes"),
    }
    for name, (value, why) in hand.items():
        yield Line(
            name, "of 3 tokens and of 1", score(name, results, rows, "language_modelling"), value, f"by hand: {why}"
        )


def table() -> str:
    """The page's table."""
    head = "| metric | hard case | nlpipe | reference | from |\n|---|---|---|---|---|\n"
    rows = (
        f"| `{one.metric}` | {one.case.replace('|', '/')} | {one.ours:.6f} | {one.theirs:.6f} | {one.source} |\n"
        for one in lines()
    )
    return head + "".join(rows)


def placed(page: str) -> str:
    """The page with the table as of now."""
    before, _, rest = page.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(placed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
