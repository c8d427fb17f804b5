"""Texts learnt and judged by themselves: masks, packing and spans as ids, and what the task makes of likelihoods."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nlpipe
from nlpipe import DataError, UnsupportedError, backbone
from nlpipe.answering import answer
from nlpipe.backbone import Backbone
from nlpipe.data import load_splits
from nlpipe.locating import Location
from nlpipe.objectives import MaskedText, Objective
from nlpipe.objectives.base import Blanked, Row, Text, TextLikelihood, Window
from nlpipe.objectives.place import labels
from nlpipe.recipe import Recipe
from nlpipe.results import Likelihood
from nlpipe.runners.torch import TorchRunner
from nlpipe.running import run
from nlpipe.task import Family
from nlpipe.testing import rules
from nlpipe.testing.tiny import family, tiny_model
from nlpipe_generation import LanguageModelling
from nlpipe_generation.likelihood import BITS_PER_BYTE, BITS_PER_CHARACTER, PERPLEXITY
from tests.support import tiny

QUICK = ("bert", "gpt2", "llama", "t5", "bart", "marian")
PAIRS = ("t5", "bart", "marian")
SLOW = ("roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "mbart", "pegasus", "opt")
ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
TEXTS = ["ba be bi", "do du", "ka " * 30 + "ke", "ga", "The old bridge was closed.", "bo " * 90]


class Models:
    """Each tiny model is made and loaded once, asked as the task asks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, tuple[Backbone, TorchRunner]] = {}

    def get(self, name: str, **options: Any) -> tuple[Any, Backbone, TorchRunner]:
        kind = LanguageModelling.row()[Family(family(name))][0]
        objective = LanguageModelling(options=LanguageModelling.Options(**options)).objective(kind)
        if name not in self._loaded:
            folder = tiny_model(name, self.folder / name, words=rules.FILLERS)
            loaded = backbone.load(Location(name, folder), objective)
            self._loaded[name] = loaded, TorchRunner(loaded.model)
        loaded, runner = self._loaded[name]
        return replace(objective, window=Window(max_length=32)), loaded, runner

    def ask(self, name: str, texts: Sequence[str], **options: Any) -> list[TextLikelihood]:
        objective, loaded, runner = self.get(name, **options)
        tok = loaded.tokenizers
        asked = [(Text(text), objective.encode(Text(text), None, tok)) for text in texts]
        return answer(objective, runner, tok, asked)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("readers"))


def epoch(objective: Objective, tok: Any, texts: Sequence[str], number: int) -> list[Row]:
    rows = [row for text in texts for row in objective.encode(Text(text), text, tok)]
    return list(objective.arrange(rows, np.random.default_rng(number)))


def content(tok: Any, texts: Sequence[str]) -> Counter[int]:
    return Counter(token for text in texts for token in tok.source.encode(text).ids)


# Answering


@pytest.mark.parametrize("name", ALL)
def test_each_token_is_judged_once_and_alone_as_in_a_batch(name: str, models: Models) -> None:
    _, loaded, _ = models.get(name)
    together = models.ask(name, TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        assert len(found.token_log_probabilities) == len(loaded.tokenizers.source.encode(text).ids)
        assert all(value <= 0 for value in found.token_log_probabilities)
        (alone,) = models.ask(name, [text])
        assert alone.token_log_probabilities == pytest.approx(found.token_log_probabilities, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_judges_as_transformers_logits_do(name: str, models: Models) -> None:
    _, loaded, _ = models.get(name)
    tok, model = loaded.tokenizers, loaded.model.eval()
    ids = tok.source.encode("ba be bi bo").ids
    first = list(tok.source.single.prefix) or [tok.target.end_id]
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([[*first, *ids]])).logits[0].log_softmax(-1)
    expected = [float(logs[len(first) - 1 + at, token]) for at, token in enumerate(ids)]
    (found,) = models.ask(name, ["ba be bi bo"])
    assert found.token_log_probabilities == pytest.approx(expected, abs=1e-5)


def test_one_hidden_token_at_a_time_is_the_pseudo_likelihood(models: Models) -> None:
    """Salazar et al. 2020: the sum over tokens of ln p of each, given all the others."""
    objective, loaded, _ = models.get("bert")
    tok, model = loaded.tokenizers.source, loaded.model.eval()
    ids = [*tok.single.prefix, *tok.encode("ba be bi").ids, *tok.single.suffix]
    expected = []
    for at in range(len(tok.single.prefix), len(ids) - len(tok.single.suffix)):
        masked = [*ids[:at], tok.upstream.mask_token_id, *ids[at + 1 :]]
        with torch.no_grad():
            expected.append(float(model(input_ids=torch.tensor([masked])).logits[0, at].log_softmax(-1)[ids[at]]))
    (found,) = models.ask("bert", ["ba be bi"], hidden="one")
    assert found.token_log_probabilities == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UnsupportedError, match="must be 'share' or 'one'"):
        objective.with_call({"hidden": "two"})


def test_a_long_text_is_judged_with_what_windows_share_before_it(models: Models) -> None:
    objective, loaded, _ = models.get("gpt2")
    text = " ".join(rules.FILLERS * 5)
    rows = replace(objective, window=Window(max_length=32, overlap=12)).encode(Text(text), None, loaded.tokenizers)
    places = [at for row in rows for at in row.place.at]
    assert places == list(range(len(loaded.tokenizers.source.encode(text).ids)))
    assert all(len(row.ids) <= 32 for row in rows) and len(rows) > 3
    assert all(len(row.ids) - len(row.place.at) >= 12 for row in rows[1:])


def test_long_texts_are_refused_or_cut_by_name(models: Models) -> None:
    for name in ("bert", "gpt2", "t5", "bart"):
        objective, loaded, _ = models.get(name)
        text, tok = " ".join(rules.FILLERS * 5), loaded.tokenizers
        refusing = replace(objective, window=Window(32, "error"))
        for gold in (None, text):
            with pytest.raises(DataError, match="the text has"):
                refusing.encode(Text(text), gold, tok)
            rows = replace(objective, window=Window(32, "truncate")).encode(Text(text), gold, tok)
            assert rows[0].seen[0] < rows[0].seen[1] == len(tok.source.encode(text).ids)


# Learning


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_packed_texts_lose_and_repeat_nothing(name: str, models: Models) -> None:
    objective, loaded, _ = models.get(name)
    tok = loaded.tokenizers
    wanted = content(tok, TEXTS) + Counter({tok.target.end_id: len(TEXTS)})
    seen = []
    for number in range(3):
        rows = epoch(objective, tok, TEXTS, number)
        assert Counter(label for row in rows for label in labels(row) if label >= 0) == wanted
        assert all(len(row.ids) == 32 for row in rows[:-1])
        for row in rows:  # what is asked for at each place is what stands at the next
            batch = objective.collate([row], tok, answering=False, rng=np.random.default_rng(0)).to("cpu")
            ids, right = batch.inputs["input_ids"][0].tolist(), batch.targets["labels"][0].tolist()
            assert all(label in (-100, after) for label, after in zip(right, ids[1:], strict=False))
            assert batch.terms == sum(label != -100 for label in right)
        seen.append([row.ids for row in rows])
    assert seen[0] != seen[1] != seen[2]
    assert [len(ids) for ids in seen[0]] == [len(ids) for ids in seen[1]] == [len(ids) for ids in seen[2]]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_texts_in_windows_of_their_own_lose_nothing_either(name: str, models: Models) -> None:
    objective, loaded, _ = models.get(name, pack=False)
    tok = loaded.tokenizers
    rows = epoch(objective, tok, TEXTS, 0)
    wanted = content(tok, TEXTS) + Counter({tok.target.end_id: len(TEXTS)})
    assert Counter(label for row in rows for label in labels(row) if label >= 0) == wanted
    assert sum(row.part == 0 for row in rows) == len(TEXTS) and all(len(row.ids) <= 32 for row in rows)


@pytest.mark.parametrize("pack", [True, False])
def test_masks_are_80_10_10_and_fresh_each_time(pack: bool, models: Models) -> None:
    objective, loaded, _ = models.get("bert", pack=pack)
    tok, mask = loaded.tokenizers, loaded.tokenizers.source.upstream.mask_token_id
    rows = epoch(objective, tok, TEXTS * 40, 0)
    special = {tok.source.pad_id, *tok.source.single.prefix, *tok.source.single.suffix}
    assert Counter(t for row in rows for t in row.ids if t not in special) == content(tok, TEXTS * 40)
    assert all(len(row.ids) <= 32 for row in rows)
    shares: Counter[str] = Counter()
    drawn = []
    for seed in range(2):
        batch = objective.collate(rows, tok, answering=False, rng=np.random.default_rng(seed)).to("cpu")
        read, right = batch.inputs["input_ids"], batch.targets["labels"]
        asked = right != -100
        assert batch.terms == int(asked.sum())
        drawn.append(asked)
        assert not any(int(token) in special for token in right[asked])
        for token, label in zip(read[asked].tolist(), right[asked].tolist(), strict=True):
            shares["blank" if token == mask else "kept" if token == label else "random"] += 1
        original = torch.tensor([[*row.ids, *[tok.source.pad_id] * (read.size(1) - len(row.ids))] for row in rows])
        assert torch.equal(read[~asked], original[~asked]) and torch.equal(right[asked], original[asked])
    assert not torch.equal(*drawn)
    total = sum(shares.values())
    assert total / (2 * sum(content(tok, TEXTS * 40).values())) == pytest.approx(0.15, abs=0.02)
    assert shares["blank"] / total == pytest.approx(0.8, abs=0.03)
    assert shares["random"] / total == pytest.approx(0.1, abs=0.03)


def test_words_are_hidden_whole(models: Models) -> None:
    objective, loaded, _ = models.get("bert", whole_words=True)
    tok, text = loaded.tokenizers, "unheardof words, 敏捷 bridges"
    (row,) = epoch(objective, tok, [text], 0)
    pieces = tok.source.encode(text)
    assert pieces.offsets is not None and len(pieces.ids) > 8
    words = {}
    for (start, end), unit in zip(pieces.offsets, [u for u in row.target if u >= 0], strict=True):
        words.setdefault(unit, []).append(text[start:end])
    assert ["".join(parts) for parts in words.values()] == ["unheardof", "words", ",", "敏", "捷", "bridges"]


@pytest.mark.parametrize("name", ["t5", "bart", "marian"])
@pytest.mark.parametrize("pack", [True, False])
def test_spans_taken_out_are_what_is_asked_for(name: str, pack: bool, models: Models) -> None:
    objective, loaded, _ = models.get(name, pack=pack)
    tok, blanks = loaded.tokenizers, set(loaded.tokenizers.source.blanks)
    rows = epoch(objective, tok, TEXTS, 0)
    assert Counter(token for row in rows for token in row.ids) == content(tok, TEXTS)
    drawn = []
    for seed in range(2):
        batch = objective.collate(rows, tok, answering=False, rng=np.random.default_rng(seed)).to("cpu")
        assert batch.inputs["input_ids"].size(1) <= 32 and batch.inputs["decoder_input_ids"].size(1) <= 33
        for at, row in enumerate(rows):
            read = [t for t in batch.inputs["input_ids"][at].tolist() if t != tok.source.pad_id or t in row.ids]
            asked = [t for t in batch.targets["labels"][at].tolist() if t != -100]
            assert any(token in blanks for token in read)
            assert asked[-1] == tok.target.end_id
            if name == "t5":  # what is left and what is asked for are the text
                stood: dict[int, list[int]] = {}
                for token in asked[:-1]:
                    if token in blanks:
                        stood[key := token] = []
                    else:
                        stood[key].append(token)
                whole = [t for token in read[:-1] for t in stood.get(token, [token])]
                assert whole == row.ids
            else:
                begun = len(tok.start) - 1
                assert asked[begun:-1] == row.ids
        drawn.append(batch.inputs["input_ids"].tolist())
    assert drawn[0] != drawn[1]


def test_two_vocabularies_cannot_restore_their_own_text(models: Models) -> None:
    objective, loaded, _ = models.get("bart")
    other = models.get("t5")[1].tokenizers.source
    with pytest.raises(UnsupportedError, match="another vocabulary"):
        objective.encode(Text("ba"), None, replace(loaded.tokenizers, target=other))


def test_a_model_without_a_mask_says_so(models: Models) -> None:
    _, loaded, _ = models.get("gpt2")
    with pytest.raises(nlpipe.ArtifactError, match="no mask token"):
        MaskedText().encode(Text("ba"), None, loaded.tokenizers)


def test_blanks_are_filled_with_the_likeliest_tokens(models: Models) -> None:
    objective, loaded, runner = models.get("bert")
    tok, query = loaded.tokenizers, Blanked(("ba", "bi", ""), top=3)
    (found,) = answer(objective, runner, tok, [(query, objective.encode(query, None, tok))])
    assert len(found.blanks) == 2 and all(len(one) == 3 for one in found.blanks)
    for one in found.blanks:
        assert [f.score for f in one] == sorted((f.score for f in one), reverse=True)
    mask = tok.source.upstream.mask_token_id
    ids = [*tok.source.single.prefix, *tok.source.encode("ba").ids, mask, *tok.source.encode("bi").ids, mask]
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([[*ids, *tok.source.single.suffix]])).logits[0].softmax(-1)
    assert [f.token for f in found.blanks[0]] == logits[ids.index(mask)].topk(3).indices.tolist()
    assert found.blanks[1][0].score == pytest.approx(float(logits[len(ids) - 1].max()), abs=1e-5)


# The task


def test_perplexity_is_at_least_one_and_bits_do_not_depend_on_tokens() -> None:
    rows = [LanguageModelling.Example(text=text) for text in ("abcd", "äö")]
    sure = [Likelihood(0.0, 3, 1.0), Likelihood(0.0, 1, 1.0)]
    assert PERPLEXITY.score(sure, rows) == PERPLEXITY.perfect == 1.0
    some = [Likelihood(-math.log(2) * 4, 2, 4.0), Likelihood(-math.log(2) * 2, 2, 2.0)]
    assert PERPLEXITY.score(some, rows) == pytest.approx(2**1.5)
    assert BITS_PER_CHARACTER.score(some, rows) == pytest.approx(1.0)
    assert BITS_PER_BYTE.score(some, rows) == pytest.approx(6 / 8)
    assert PERPLEXITY.better(2.0, 3.0) and math.isnan(PERPLEXITY.value(PERPLEXITY.rows([], [])))
    assert PERPLEXITY.score([Likelihood(-1e5, 1, math.inf)], rows[:1]) == math.inf


FOREIGN = [({"whole_words": True}, "decoder"), ({"mean_span": 2}, "encoder"), ({"noise": 0.2}, "decoder")]


def test_settings_that_do_nothing_for_a_family_are_refused() -> None:
    for options, kind in (
        ({"whole_words": True}, "decoder"),
        ({"mean_span": 2}, "encoder"),
        ({"noise": 0.2}, "decoder"),
    ):
        task = LanguageModelling(options=LanguageModelling.Options(**options))
        with pytest.raises(UnsupportedError, match=f"task.{next(iter(options))} does nothing"):
            task.objective(LanguageModelling.row()[Family(kind)][0])


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_nothing_can_be_read_of_an_empty_text(text: str) -> None:
    task = LanguageModelling()
    with pytest.raises(DataError, match="`text` is empty"):
        task.query(LanguageModelling.Input(text=text), MaskedText())
    with pytest.raises(DataError, match="`text` is empty"):
        task.gold(LanguageModelling.Example(text=text), MaskedText())


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_pipeline_tells_each_tokens_likelihood_and_writes_nothing(name: str, tmp_path: Path) -> None:
    recipe = Recipe(
        task="language_modelling",  # type: ignore[arg-type]
        model={"backbone": str(tiny(name, tmp_path))},  # type: ignore[arg-type]
        data={"train": [{"text": "ba be bi"}, {"text": "bo bu"}]},  # type: ignore[arg-type]
        train={"steps": 1},  # type: ignore[arg-type]
        run={"threads": 1},  # type: ignore[arg-type]
        output={"dir": str(tmp_path / "run")},  # type: ignore[arg-type]
    )
    model = run(recipe).model
    assert model is not None
    pipe = nlpipe.load(model)
    assert pipe("ba be bi").token_log_probabilities == ()
    found = pipe("ba be bi", token_log_probabilities=True)
    assert len(found.token_log_probabilities) == found.tokens
    assert sum(found.token_log_probabilities) == pytest.approx(found.log_probability)
    assert found.perplexity == pytest.approx(math.exp(-found.log_probability / found.tokens))
    assert Likelihood.from_dict(found.to_dict()) == found
    with pytest.raises(UnsupportedError, match=r"writes no text|none is written"):
        list(pipe.stream("ba"))


def test_empty_lines_of_running_text_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("One.\n\n \nTwo.\n", encoding="utf-8")
    split = load_splits({"train": str(tmp_path / "a.txt")}, LanguageModelling.Example, {}, seed=1)["train"]
    assert ([example.text for example in split.examples], split.rows) == (["One.", "Two."], [1, 4])  # type: ignore[attr-defined]
    assert "2 empty rows left out" in caplog.text
    (tmp_path / "b.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="has empty rows alone"):
        load_splits({"train": str(tmp_path / "b.txt")}, LanguageModelling.Example, {}, seed=1)
