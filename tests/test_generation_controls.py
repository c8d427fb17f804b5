"""Every setting of generation does what it says, greedy, drawn and by beams, on a decoder and on a pair.

Each test states what the setting must bring about and that it is not there without it, so that a setting that is
passed over fails.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlpipe import UnsupportedError, backbone, upstream
from nlpipe.generation import BEAMS, SAMPLING, Generation
from nlpipe.locating import Location
from nlpipe.objectives import CausalText, Seq2SeqText
from nlpipe.objectives.base import Prompt, Segment
from nlpipe.runners.torch import TorchRunner
from nlpipe.testing import rules
from nlpipe.testing.tiny import family, tiny_model

PROMPTS = ["ba be bi", "do du da", "ka ke ki ko ku", "ga"]
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"do_sample": True, "seed": 7},
    "beams": {"num_beams": 3},
}
both = pytest.mark.parametrize("name", ["gpt2", "t5"])
modes = pytest.mark.parametrize("mode", MODES)


class Writer:
    """A tiny model that says which tokens it writes."""

    def __init__(self, name: str, folder: Path) -> None:
        made = tiny_model(name, folder / name, words=rules.FILLERS)
        kind = CausalText if family(name) == "decoder" else Seq2SeqText
        self.loaded = backbone.load(Location(name, made), kind())
        self.objective: Any = backbone.with_window(kind(), self.loaded.limit, None)
        self.runner = TorchRunner(self.loaded.model)

    def write(self, prompts: Sequence[str] = PROMPTS, **settings: Any) -> list[list[tuple[int, ...]]]:
        """For each prompt the tokens of each answer."""
        objective = self.objective.with_generation(Generation(**{"max_new_tokens": 10, **settings}))
        tok = self.loaded.tokenizers
        rows = [objective.encode(Prompt((Segment(text),)), None, tok)[0] for text in prompts]
        batch = objective.collate(rows, tok, answering=True, rng=np.random.default_rng(0))
        written = self.runner.generate(objective.continuing(batch), objective._wish(rows, tok))
        return [[one.ids for one in found] for found in written]

    def first(self, **settings: Any) -> list[tuple[int, ...]]:
        """The best answer to each prompt."""
        return [found[0] for found in self.write(**settings)]


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Writer]:
    folder = tmp_path_factory.mktemp("controls")
    return {name: Writer(name, folder) for name in ("gpt2", "t5")}


def repeats(ids: Sequence[int], size: int) -> int:
    """How many n-grams of a size occurred before."""
    grams = [tuple(ids[at : at + size]) for at in range(len(ids) - size + 1)]
    return len(grams) - len(set(grams))


@both
@modes
def test_lengths(name: str, mode: str, writers: dict[str, Writer]) -> None:
    writer, how = writers[name], MODES[mode]
    usual = writer.first(**how)
    assert any(len(ids) > 2 for ids in usual)
    assert all(len(ids) <= 2 for ids in writer.first(**how, max_new_tokens=2))
    end = writer.loaded.tokenizers.target.end_id
    # What ends at once is made to go on.
    bound = {**how, "bad_words_ids": None}
    least = writer.first(**bound, max_new_tokens=10, min_new_tokens=9)
    assert all(len(ids) >= 9 for ids in least) and all(end not in ids[:8] for ids in least)


@both
@modes
def test_what_is_repeated_and_what_is_never_written(name: str, mode: str, writers: dict[str, Writer]) -> None:
    writer, how = writers[name], {**MODES[mode], "min_new_tokens": 10}
    if mode == "drawn":
        how |= {"temperature": 0.1}  # so that it repeats itself as the others do
    usual = writer.first(**how)
    assert sum(repeats(ids, 2) for ids in usual) > 0
    assert sum(repeats(ids, 2) for ids in writer.first(**how, no_repeat_ngram_size=2)) == 0
    fresh = writer.first(**how, repetition_penalty=50.0)
    assert sum(repeats(ids, 1) for ids in fresh) < sum(repeats(ids, 1) for ids in usual)
    never = max({token for ids in usual for token in ids}, key=lambda token: sum(ids.count(token) for ids in usual))
    for settings in ({"suppress_tokens": (never,)}, {"bad_words_ids": ((never,),)}):
        assert all(never not in ids for ids in writer.first(**how, **settings))
    begun = usual[0][0]
    assert all(ids[0] != begun for ids in writer.first(**how, begin_suppress_tokens=(begun,)))


@modes
def test_what_the_source_has(mode: str, writers: dict[str, Writer]) -> None:
    """Of a pair: tokens of the source are kept from the answer, or favoured in it."""
    writer, how = writers["t5"], {**MODES[mode], "min_new_tokens": 10}
    source = {token for text in PROMPTS for token in writer.loaded.tokenizers.source.encode(text).ids}
    text = " ".join(rules.FILLERS)  # with every word, so that something of it is written
    known = set(writer.loaded.tokenizers.source.encode(text).ids)
    free = [set(found[0]) & known for found in writer.write([text], **how, encoder_repetition_penalty=1e4)]
    assert free[0] and source
    kept = writer.write([text], **how, encoder_repetition_penalty=1e4, encoder_no_repeat_ngram_size=1)
    assert not set(kept[0][0]) & known


@both
@pytest.mark.parametrize(
    "settings",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}, {"epsilon_cutoff": 0.99}],
    ids=str,
)
def test_drawing_that_leaves_one_token_is_greedy(
    name: str, settings: dict[str, Any], writers: dict[str, Writer]
) -> None:
    writer = writers[name]
    assert writer.first(**MODES["drawn"], **settings) == writer.first()
    assert writer.first(**MODES["drawn"], temperature=5.0) != writer.first()


@both
def test_drawing_that_leaves_few_tokens_writes_few(name: str, writers: dict[str, Writer]) -> None:
    writer = writers[name]
    hot = {"do_sample": True, "seed": 1, "temperature": 50.0, "num_return_sequences": 40, "max_new_tokens": 1}

    def kinds(**settings: Any) -> int:
        return len(set(writer.write(PROMPTS[:1], **hot, **settings)[0]))

    free = kinds(top_k=0)
    assert free > 25
    assert kinds(top_k=3) <= 3
    assert kinds(typical_p=0.05) < free and kinds(eta_cutoff=0.5, top_k=0) <= free
    assert kinds(top_p=0.05) < free


@both
def test_beams(name: str, writers: dict[str, Writer]) -> None:
    writer = writers[name]
    found = writer.write(num_beams=4, num_return_sequences=3)
    assert all(len(set(answers)) == 3 for answers in found)
    lengths = {
        penalty: sum(len(ids) for ids in writer.first(num_beams=6, length_penalty=penalty)) for penalty in (-9.0, 9.0)
    }
    assert lengths[-9.0] <= lengths[9.0]
    likelier = writer.first(num_beams=6, length_penalty=0.0)
    assert likelier != writer.first() or name == "t5"


@both
def test_draws_of_beams_do_not_depend_on_the_neighbours(name: str, writers: dict[str, Writer]) -> None:
    writer, how = writers[name], {"do_sample": True, "num_beams": 3, "seed": 5, "temperature": 2.0}
    together = writer.write(**how)
    assert together == [writer.write([text], **how)[0] for text in PROMPTS]
    assert together == writer.write(**how) != writer.write(**{**how, "seed": 6})


@both
@modes
def test_stop_strings_end_an_answer(name: str, mode: str, writers: dict[str, Writer]) -> None:
    tok = writers[name].loaded.tokenizers.target
    # A random model might write nothing that can be read.
    writer, how = (
        writers[name],
        {**MODES[mode], "min_new_tokens": 10, "suppress_tokens": tuple(tok.upstream.all_special_ids)},
    )
    usual = writer.first(**how)
    texts = [tok.decode(ids) for ids in usual]
    at = max(range(len(texts)), key=lambda index: len(texts[index]))
    stop = texts[at].strip()[2:4].strip()
    assert stop
    stopped = writer.first(**how, stop_strings=(stop,))[at]
    assert stop not in tok.decode(stopped[:-1])  # but in the usual answer, which goes on behind it
    assert stop in tok.decode(usual[at][:-1]) and stopped != usual[at]
    if mode != "beams":  # there an answer without the string may be the better one
        assert stop in tok.decode(stopped)


def test_an_answer_begins_as_it_is_told(writers: dict[str, Writer]) -> None:
    """Of a pair; a decoder's answer begins where its prompt ends, so the setting is refused there."""
    pair, decoder = writers["t5"], writers["gpt2"]
    token = pair.loaded.tokenizers.target.encode("du").ids[0]
    given = pair.objective.with_generation(Generation(forced_bos_token_id=token))
    (row,) = given.encode(Prompt((Segment("ba"),)), None, pair.loaded.tokenizers)
    assert row.place.start[-1] == token
    for ask in (
        lambda: decoder.objective.with_generation(Generation(forced_bos_token_id=token)),
        lambda: decoder.objective.with_call({"forced_bos_token_id": token}),
    ):
        with pytest.raises(UnsupportedError, match="forced_bos_token_id does nothing for a decoder"):
            ask()


def test_every_setting_reaches_the_loop(writers: dict[str, Writer]) -> None:
    """Those that are not ours to carry out stand in the config that transformers' loop obeys."""
    values: dict[str, Any] = {
        **{"max_new_tokens": 3, "min_new_tokens": 2, "num_beams": 2, "length_penalty": 0.3, "early_stopping": True},
        **{"temperature": 0.5, "top_k": 4, "top_p": 0.6, "min_p": 0.1, "typical_p": 0.7, "epsilon_cutoff": 0.01},
        **{"eta_cutoff": 0.02, "repetition_penalty": 1.2, "encoder_repetition_penalty": 1.1, "no_repeat_ngram_size": 2},
        **{"encoder_no_repeat_ngram_size": 3, "suppress_tokens": (5,), "begin_suppress_tokens": (6,)},
        **{"bad_words_ids": ((7,),), "renormalize_logits": True},
    }
    ours = {"do_sample", "forced_bos_token_id", "stop_strings", "num_return_sequences", "seed"}
    assert set(values) | ours == set(Generation.model_fields) and {*SAMPLING, *BEAMS} <= set(values) | ours
    config = upstream.generation_config(writers["gpt2"].loaded.model, values, ends=frozenset({1}), pad=0)
    for setting, value in values.items():
        found = getattr(config, setting)
        assert found == json.loads(json.dumps(value)), setting  # tuples as lists, however deep
