"""The loop that writes answers: a batch's are those of transformers' own loop, row by row, and rows leave it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import backbone, locating, upstream_cache
from nlpipe.answering import answer
from nlpipe.objectives import CausalText, Objective, Seq2SeqText
from nlpipe.objectives.base import Prompt, Segment
from nlpipe.objectives.continuing import Wish, Written
from nlpipe.runners import decoding, prefixes, writing
from nlpipe.runners.torch import TorchRunner
from nlpipe.testing import rules
from tests.support import tiny

DECODERS = ("gpt2", "llama", "bloom", "gpt_neo")
PAIRS = ("t5", "bart", "marian")
DRAW = random.Random(3)
HEADER = " ".join(DRAW.choices(rules.FILLERS, k=24)) + " "
TEXTS = [" ".join(DRAW.choices(rules.FILLERS, k=1 + at % 9)) for at in range(11)]
MOST = [1 + at * 7 % 19 for at in range(len(TEXTS))]

Made = Callable[[str], tuple[Any, Any, backbone.Backbone]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, known = tmp_path_factory.mktemp("models"), {}

    def of(architecture: str) -> tuple[Any, Any, backbone.Backbone]:
        if architecture not in known:
            kind = Seq2SeqText if architecture in PAIRS else CausalText
            loaded = backbone.load(locating.Location("tiny", tiny(architecture, folder)), kind())
            known[architecture] = (kind(), TorchRunner(loaded.model), loaded)
        return known[architecture]

    return of


def written(
    objective: Any,
    loaded: backbone.Backbone,
    texts: list[str],
    most: list[int],
    seeds: Any = None,
    filler: int | None = None,
    **settings: Any,
) -> list[list[Written]]:
    tok = loaded.tokenizers
    rows = [objective.encode(Prompt((Segment(text),)), None, tok)[0] for text in texts]
    batch = objective.continuing(objective.collate(rows, tok, answering=True, rng=np.random.default_rng(0))).to("cpu")
    if filler is not None:
        batch.inputs["input_ids"].masked_fill_(batch.inputs["attention_mask"] == 0, filler)
    wish = Wish({"max_new_tokens": 20, **settings}, most, frozenset({tok.target.end_id}), tok.target.pad_id, 1, seeds)
    with torch.inference_mode():
        return writing.generate(loaded.model, batch.inputs, wish)


@pytest.mark.parametrize("header", ["", HEADER], ids=["apart", "shared"])
@pytest.mark.parametrize("drawn", [False, True], ids=["likeliest", "drawn"])
@pytest.mark.parametrize("architecture", [*DECODERS, *PAIRS])
def test_a_batch_writes_what_transformers_writes_for_each_row(
    architecture: str, drawn: bool, header: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, runner, loaded = made(architecture)
    texts = [header + text for text in TEXTS]
    seeds = [[100 + at] for at in range(len(texts))] if drawn else None
    found = written(objective, loaded, texts, MOST, seeds)
    assert len({len(one.ids) for (one,) in found}) > 4, "rows that end together show nothing"
    told = objective._scored(
        runner,
        [
            (objective.encode(Prompt((Segment(text),)), None, loaded.tokenizers)[0], replace(one, scores=None))
            for text, (one,) in zip(texts, found, strict=True)
        ],
        loaded.tokenizers,
    )
    monkeypatch.setattr(writing, "growing", lambda model: None)  # transformers' own loop
    for at, (one,) in enumerate(found):
        ((alone,),) = written(objective, loaded, [texts[at]], [MOST[at]], seeds and [seeds[at]])
        assert (one.ids, one.ended) == (alone.ids, alone.ended)
        np.testing.assert_allclose(one.scores, told[at], atol=1e-5)


def test_rows_leave_when_they_have_ended(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, _, loaded = made("gpt2")
    passes: list[int] = []
    real = upstream_cache.next_pass

    def counting(model: Any, input_ids: Any, given: Any, **rest: Any) -> Any:
        passes.append(len(input_ids))
        return real(model, input_ids, given, **rest)

    monkeypatch.setattr(decoding.upstream_cache, "next_pass", counting)
    written(objective, loaded, TEXTS, MOST)
    assert passes[0] == len(TEXTS)
    assert passes == sorted(passes, reverse=True)
    assert sum(passes) < 0.7 * len(TEXTS) * len(passes)


def test_what_all_prompts_begin_with_is_read_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, _, loaded = made("llama")
    widths: list[int] = []
    real = loaded.model.model.layers[0].mlp.forward  # type: ignore[union-attr, index]
    monkeypatch.setattr(
        loaded.model.model.layers[0].mlp,  # type: ignore[union-attr, index]
        "forward",
        lambda states: widths.append(states.size(0) * states.size(1)) or real(states),
    )
    shared, own = len(objective.encode(Prompt((Segment(HEADER),)), None, loaded.tokenizers)[0].ids), 12
    written(objective, loaded, [HEADER + text for text in TEXTS], MOST)
    assert widths[0] >= shared - 2
    assert widths[1] <= own * len(TEXTS)


def test_settings_that_look_back_do_not_look_at_padding(made: Made) -> None:
    """What fills a row may be a token that answers have: a penalty on what occurred would then change short rows'.

    transformers holds for each row where its padding ends, which has to leave with the row.
    """
    objective, _, loaded = made("gpt2")
    usual = written(objective, loaded, TEXTS, MOST)
    often = statistics.mode(one.ids[0] for (one,) in usual)
    settings: dict[str, Any] = {"filler": often, "repetition_penalty": 5.0}
    together = written(objective, loaded, TEXTS, MOST, **settings)
    alone = [written(objective, loaded, [text], [most], **settings)[0] for text, most in zip(TEXTS, MOST, strict=True)]
    assert [one.ids for (one,) in together] == [one.ids for (one,) in alone]


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_full_row_leaves_the_others_their_room(architecture: str, made: Made) -> None:
    """GPT-Neo's attention has a column for each position of a row, padding among them."""
    objective, _, loaded = made(architecture)
    texts = [" ".join(DRAW.choices(rules.FILLERS, k=loaded.limit - 6)), "ba be"]
    lengths = [len(objective.encode(Prompt((Segment(text),)), None, loaded.tokenizers)[0].ids) for text in texts]
    most = [min(20, loaded.limit - length) for length in lengths]
    assert most[0] < 10 < most[1]
    together = written(objective, loaded, texts, most)
    alone = [written(objective, loaded, [text], [room])[0] for text, room in zip(texts, most, strict=True)]
    assert [one.ids for (one,) in together] == [one.ids for (one,) in alone]


@pytest.mark.parametrize("header", ["", HEADER], ids=["apart", "shared"])
@pytest.mark.parametrize("architecture", [*DECODERS, *PAIRS])
def test_choices_are_judged_behind_a_prompt_that_is_read_once(
    architecture: str, header: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, runner, loaded = made(architecture)
    choices = tuple(" ".join(rules.FILLERS[at : at + count]) for at, count in enumerate((1, 2, 1, 3, 1)))
    prompts = [Prompt((Segment(header + text + " ba be bi bo"),), choices=choices) for text in TEXTS[:4]]
    asked = [(prompt, objective.encode(prompt, None, loaded.tokenizers)) for prompt in prompts]
    used: list[bool] = []
    real = prefixes.judged

    def spied(model: Any, batch: Any) -> Any:
        found = real(model, batch)
        used.append(found is not None)
        return found

    monkeypatch.setattr(prefixes, "judged", spied)
    found = likelihoods(objective, runner, loaded, asked)
    assert all(used) == (architecture != "gpt_neo")  # whose attention counts columns
    monkeypatch.setattr(prefixes, "judged", lambda model, batch: None)
    np.testing.assert_allclose(found, likelihoods(objective, runner, loaded, asked), atol=1e-5)


def likelihoods(objective: Objective, runner: TorchRunner, loaded: backbone.Backbone, asked: Any) -> Any:
    return np.stack([one.log_probabilities for one in answer(objective, runner, loaded.tokenizers, asked)])


def test_what_shares_nothing_is_judged_as_it_is(made: Made) -> None:
    objective, _, loaded = made("gpt2")
    rows = [objective.encode(Prompt((Segment(text),), choices=("ba",)), None, loaded.tokenizers)[0] for text in TEXTS]
    batch = objective.collate(rows, loaded.tokenizers, answering=True, rng=np.random.default_rng(0)).to("cpu")
    assert prefixes.judged(loaded.model, batch) is None


def test_large_answers_are_written_batch_after_batch(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, _, loaded = made("gpt2")
    expected = written(objective, loaded, TEXTS, MOST)
    monkeypatch.setattr(writing, "CACHE", 3 * upstream_cache.bytes_per_token(loaded.model) * 40)
    batches: list[int] = []
    real = writing.upstream.generate

    def counting(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        batches.append(len(inputs["input_ids"]))
        return real(model, inputs, *rest, **named)

    monkeypatch.setattr(writing.upstream, "generate", counting)
    assert [one.ids for (one,) in written(objective, loaded, TEXTS, MOST)] == [one.ids for (one,) in expected]
    assert max(batches) < 6 < sum(batches) == len(TEXTS)


def test_a_closed_runner_says_so(tmp_path: Path) -> None:
    loaded = backbone.load(locating.Location("tiny", tiny("gpt2", tmp_path)), CausalText())
    runner = TorchRunner(loaded.model)
    runner.close()
    runner.close()
    with pytest.raises(Exception, match="closed; load it again"):
        runner.model  # noqa: B018
