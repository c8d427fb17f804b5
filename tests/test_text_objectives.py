"""Text written and judged after a prompt: ids, losses, padding, ends, draws, pieces, chats and streams."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpipe import DataError, UnsupportedError, backbone, locating, upstream
from nlpipe.answering import answer
from nlpipe.backbone import Backbone
from nlpipe.generation import Generation
from nlpipe.locating import Location
from nlpipe.objectives import CausalText, Seq2SeqText, pieces, prompts
from nlpipe.objectives.base import Generated, Likelihoods, Message, Prompt, Segment, Window
from nlpipe.objectives.fitting import Fit
from nlpipe.objectives.text import TextObjective
from nlpipe.runners.torch import TorchRunner
from nlpipe.testing import rules
from nlpipe.testing.tiny import family, tiny_model

DRAW = np.random.default_rng(0)
WRITERS = ("gpt2", "bloom", "llama", "opt", "t5", "bart", "marian", "mbart", "bert", "roberta", "modernbert")
QUICK = ("gpt2", "llama", "t5", "bart", "marian", "bert", "modernbert")
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WRITERS]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def prompt(text: str, long: Any = "whole", **rest: Any) -> Prompt:
    return Prompt((Segment(text, long),), **rest)


class Models:
    """Each tiny model is made and loaded once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, tuple[TextObjective, Backbone, TorchRunner]] = {}

    def get(self, name: str) -> tuple[TextObjective, Backbone, TorchRunner]:
        if name not in self._loaded:
            folder = tiny_model(name, self.folder / name, words=rules.FILLERS)
            kind = CausalText if family(name) == "decoder" else Seq2SeqText
            objective: TextObjective = kind().with_generation(Generation(max_new_tokens=8))
            loaded = backbone.load(Location(name, folder), objective)
            self._loaded[name] = backbone.with_window(objective, loaded.limit, None), loaded, TorchRunner(loaded.model)  # type: ignore[assignment]
        return self._loaded[name]

    def ask(self, name: str, queries: Sequence[Prompt], **options: Any) -> list[Any]:
        objective, loaded, runner = self.get(name)
        objective = objective.with_call(options) if options else objective
        tok = loaded.tokenizers
        return answer(objective, runner, tok, [(query, objective.encode(query, None, tok)) for query in queries])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("writers"))


# Prompt and answer as ids


@pytest.mark.parametrize("name", [n for n in QUICK if n in {"gpt2", "llama"}])
def test_prompt_and_answer_are_joined_as_ids_and_only_the_answer_is_learnt(name: str, models: Models) -> None:
    objective, loaded, _ = models.get(name)
    tok = loaded.tokenizers
    (alone,) = objective.encode(prompt("ba be"), None, tok)
    (learnt,) = objective.encode(prompt("ba be"), "bi bo", tok)
    assert learnt.ids[: len(alone.ids)] == alone.ids
    assert learnt.ids[len(alone.ids) :] == learnt.target
    assert learnt.target[-1] == tok.target.end_id
    (other,) = objective.encode(prompt("ba be bu"), "bi bo", tok)
    assert other.target == learnt.target
    batch = objective.collate([learnt, other], tok, answering=False, rng=DRAW).to("cpu")
    assert batch.terms == 2 * len(learnt.target)
    labels = batch.targets["labels"]
    for row, one in enumerate([learnt, other]):
        kept = labels[row] != -100
        assert labels[row][kept].tolist() == one.target
        # Each target lies under the token before it, and padding is on the right.
        places = kept.nonzero().flatten()
        assert [one.ids[place + 1] for place in places] == one.target
        assert batch.inputs["attention_mask"][row].tolist() == [1] * len(one.ids) + [0] * (
            labels.size(1) - len(one.ids)
        )


def test_the_end_is_learnt_where_it_is_also_the_padding(models: Models) -> None:
    objective, loaded, _ = models.get("gpt2")
    tok = loaded.tokenizers
    assert tok.source.pad_id == tok.target.end_id
    rows = [objective.encode(prompt(p), a, tok)[0] for p, a in (("ba", "be"), ("ba be bi bo", "bu da de di"))]
    labels = objective.collate(rows, tok, answering=False, rng=DRAW).to("cpu").targets["labels"]
    assert (labels == tok.target.end_id).sum(1).tolist() == [1, 1]


def test_what_answers_begin_with_is_learnt_and_then_given(models: Models, test_data: Path) -> None:
    """BART's <s>: the real pair, taught so, finds its own right answers likely; without it they cost 3 nats a token."""
    objective, loaded, _ = models.get("bart")
    tok, begin = loaded.tokenizers, loaded.tokenizers.target.upstream.bos_token_id
    (learnt,), (asked,) = objective.encode(prompt("ba"), "be", tok), objective.encode(prompt("ba"), None, tok)
    assert (
        learnt.target[0] == begin and learnt.place.start == asked.place.start[:1] and asked.place.start[1:] == (begin,)
    )

    real = backbone.load(locating.locate(str(test_data / "models" / "g2p-bart-en-us")), objective)
    (row,) = objective.encode(prompt("transformer"), "tɹænsfˈɔɹməɹ", real.tokenizers)
    batch = objective.collate([row], real.tokenizers, answering=False, rng=DRAW).to("cpu")
    with torch.no_grad():
        assert float(objective.loss(objective.compute(real.model.eval(), batch), batch)) / batch.terms < 0.01


@pytest.mark.parametrize("name", ALL)
def test_the_loss_is_transformers_own_mean_times_its_terms(name: str, models: Models) -> None:
    objective, loaded, _ = models.get(name)
    tok, model = loaded.tokenizers, loaded.model.eval()
    rows = [objective.encode(prompt(p), a, tok)[0] for p, a in (("ba be bi", "bo"), ("bu", "da de di do du ba"))]
    batch = objective.collate(rows, tok, answering=False, rng=DRAW).to("cpu")
    with torch.no_grad():
        ours = float(objective.loss(objective.compute(model, batch), batch))
        # Row by row and without padding, in transformers' own words.
        theirs = 0.0
        for row in rows:
            one = objective.collate([row], tok, answering=False, rng=DRAW).to("cpu")
            labels = one.targets["labels"]
            if family(name) == "decoder":
                shifted = torch.cat([torch.full((1, 1), -100), labels[:, :-1]], 1)
                theirs += float(model(input_ids=one.inputs["input_ids"], labels=shifted).loss) * len(row.target)
            else:
                logits = model(**one.inputs).logits
                theirs += float(torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum"))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_the_decoder_reads_is_the_target_shifted(models: Models) -> None:
    objective, loaded, _ = models.get("t5")
    tok = loaded.tokenizers
    (row,) = objective.encode(prompt("ba be"), "bi bo", tok)
    batch = objective.collate([row], tok, answering=False, rng=DRAW).to("cpu")
    read, labels = batch.inputs["decoder_input_ids"][0].tolist(), batch.targets["labels"][0].tolist()
    assert read == [*tok.start, *labels[:-1]] and labels[-1] == tok.target.end_id
    theirs: Any = loaded.model
    assert theirs.prepare_decoder_input_ids_from_labels(batch.targets["labels"])[0].tolist() == read


# Writing


TEXTS = ["ba", "ba be bi bo bu da de di do du", "", "ge gi", "ku " * 18, "Zoë 🦊"]


@pytest.mark.parametrize("name", ALL)
def test_a_batch_writes_what_each_row_alone_does(name: str, models: Models) -> None:
    queries = [prompt(text) for text in TEXTS]
    together = models.ask(name, queries)
    alone = [models.ask(name, [query])[0] for query in queries]
    assert [one.text for one in together] == [one.text for one in alone]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.token_log_probabilities, other.token_log_probabilities, atol=1e-4)
    assert len({round(one.log_probability, 4) for one in together}) > 3


def test_an_answer_is_what_the_likeliest_token_after_token_gives(models: Models) -> None:
    objective, loaded, _ = models.get("gpt2")
    tok, model = loaded.tokenizers, loaded.model.eval()
    ids = torch.tensor([objective.encode(prompt("ba be"), None, tok)[0].ids])
    start, scores = ids.size(1), []
    with torch.no_grad():
        for _ in range(8):
            logits = model(input_ids=ids).logits[0, -1].log_softmax(-1)
            scores.append(float(logits.max()))
            ids = torch.cat([ids, logits.argmax().view(1, 1)], 1)
            if int(ids[0, -1]) == tok.target.end_id:
                break
    (found,) = models.ask("gpt2", [prompt("ba be")])
    assert found.text == tok.target.decode_after(ids[0, :start].tolist(), ids[0, start:].tolist())
    assert found.token_log_probabilities == pytest.approx(scores, abs=1e-4)
    assert found.log_probability == pytest.approx(sum(scores), abs=1e-3)


def test_rows_that_fill_the_model_end_at_its_end(models: Models) -> None:
    """GPT-2 has a table of 64 positions: a token more would be an IndexError."""
    objective, loaded, _ = models.get("gpt2")
    rows = {n: prompt("ba " * n, "start") for n in (1, 20, 30)}
    found = dict(zip(rows, models.ask("gpt2", list(rows.values()), max_new_tokens=60), strict=True))
    for n, one in found.items():
        used = len(objective.with_call({"max_new_tokens": 60}).encode(rows[n], None, loaded.tokenizers)[0].ids)
        assert one.ended or len(one.token_log_probabilities) == min(60, 64 - used)


def test_draws_depend_on_the_seed_and_not_on_the_neighbours(models: Models) -> None:
    draw = {"do_sample": True, "temperature": 1.5, "seed": 4}
    queries = [prompt(text) for text in TEXTS[:4]]
    first, again = models.ask("gpt2", queries, **draw), models.ask("gpt2", queries, **draw)
    assert [one.text for one in first] == [one.text for one in again]
    assert [models.ask("gpt2", [query], **draw)[0].text for query in queries] == [one.text for one in first]
    other = models.ask("gpt2", queries, **{**draw, "seed": 5})
    assert [one.text for one in first] != [one.text for one in other]
    # Without a seed, every call draws anew.
    free = {models.ask("gpt2", [prompt("ba")], do_sample=True, temperature=3.0)[0].text for _ in range(4)}
    assert len(free) > 1


def test_draws_follow_the_distribution(models: Models) -> None:
    """4000 first tokens among the two likeliest: their share is what the model says."""
    query = prompt("ba be")
    (one,) = models.ask("gpt2", [query], max_new_tokens=1, do_sample=True, top_k=2, seed=1, num_return_sequences=4000)
    texts = [one.text, *(other.text for other in one.alternatives)]
    share = {text: texts.count(text) / len(texts) for text in set(texts)}
    by_text = {other.text: math.exp(other.log_probability) for other in (one, *one.alternatives)}
    assert len(share) == 2
    total = sum(by_text.values())
    for text, found in share.items():
        assert found == pytest.approx(by_text[text] / total, abs=0.04)  # 5 standard deviations of a fair coin


@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}, {"typical_p": 1.0, "top_k": 1}],
    ids=str,
)
def test_sampling_that_leaves_one_token_is_greedy(options: dict[str, float], models: Models) -> None:
    queries = [prompt(text) for text in TEXTS[:3]]
    drawn = models.ask("gpt2", queries, do_sample=True, seed=1, **options)
    assert [one.text for one in drawn] == [one.text for one in models.ask("gpt2", queries)]


def test_stop_strings_end_an_answer_and_are_no_part_of_it(models: Models) -> None:
    (whole,) = models.ask("gpt2", [prompt("ba be")])
    stop = whole.text[3:5]
    (cut,) = models.ask("gpt2", [prompt("ba be")], stop_strings=stop)
    assert cut.text == whole.text.partition(stop)[0] and stop not in cut.text and cut.ended
    assert len(cut.token_log_probabilities) <= len(whole.token_log_probabilities)


def test_several_answers_are_the_best_of_a_beam_search(models: Models) -> None:
    (one,) = models.ask("bart", [prompt("ba be")], num_beams=4, num_return_sequences=3, length_penalty=0.0)
    assert len(one.alternatives) == 2 and len({one.text, *(o.text for o in one.alternatives)}) == 3
    scores = [one.log_probability, *(other.log_probability for other in one.alternatives)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", ["gpt2", "t5", "bert"])
@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True, "seed": 2, "temperature": 2.0}, {"stop_strings": ("e", "🦊x")}]
)
def test_a_stream_is_the_answer_in_pieces(name: str, options: dict[str, Any], models: Models) -> None:
    objective, loaded, runner = models.get(name)
    query, objective = prompt("ba be bi"), objective.with_call(options)
    told = list(objective.stream(runner, query, loaded.tokenizers))
    (whole,) = models.ask(name, [query], **options)
    assert "".join(told) == whole.text
    assert all(told)


def test_a_stream_given_up_frees_the_model(models: Models) -> None:
    objective, loaded, runner = models.get("gpt2")
    objective = objective.with_call({"max_new_tokens": 50, "min_new_tokens": 50})
    passes = []
    hook = loaded.model.register_forward_hook(lambda *_: passes.append(time.sleep(0.02)))
    stream = objective.stream(runner, prompt("ba"), loaded.tokenizers)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    hook.remove()
    assert len(passes) < 40
    assert models.ask("gpt2", [prompt("ba")])  # would wait for ever if the lock were still held


def test_a_failure_while_streaming_reaches_the_reader(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, loaded, runner = models.get("gpt2")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(upstream, "generate", fail)
    with pytest.raises(RuntimeError, match="no memory left"):
        list(objective.stream(runner, prompt("ba"), loaded.tokenizers))


def test_what_cannot_be_streamed_says_so(models: Models) -> None:
    objective, loaded, runner = models.get("gpt2")
    with pytest.raises(UnsupportedError, match="num_beams: 1"):
        objective.with_call({"num_beams": 2}).stream(runner, prompt("ba"), loaded.tokenizers)


# Judging


@pytest.mark.parametrize("name", QUICK)
def test_choices_are_as_likely_as_their_tokens(name: str, models: Models) -> None:
    objective, loaded, _ = models.get(name)
    tok, choices = loaded.tokenizers, ("ba", "be bi bo", "🦊")
    (found,) = models.ask(name, [prompt("du da", choices=choices)])
    assert isinstance(found, Likelihoods) and found.log_probabilities.shape == (1, 3)
    for choice, value, count in zip(choices, found.log_probabilities[0], found.tokens, strict=True):
        (row,) = objective.encode(prompt("du da"), choice, tok)
        batch = objective.collate([row], tok, answering=False, rng=DRAW).to("cpu")
        with torch.no_grad():
            each = objective.log_probabilities(objective.compute(loaded.model.eval(), batch), batch)
        begun = len(objective.encode(prompt("du da"), None, tok)[0].place.start[1:])
        known = each[batch.targets["labels"] != -100][begun:-1]  # neither beginning nor end are part of a choice
        assert count == len(known)
        assert value == pytest.approx(float(known.sum()), abs=1e-3)


def test_a_choice_that_begins_another_is_told_by_its_end(models: Models) -> None:
    (apart,) = models.ask("gpt2", [prompt("du", choices=("ba", "be"))])
    (within,) = models.ask("gpt2", [prompt("du", choices=("ba", "ba be"))])
    assert within.tokens[0] == apart.tokens[0] + 1
    assert within.log_probabilities[0, 0] < apart.log_probabilities[0, 0]


# Long prompts


WORDS = " ".join(rules.FILLERS * 6) + "."


@pytest.mark.parametrize("name", ["gpt2", "t5", "marian"])
def test_a_long_prompt_is_read_whole_in_pieces(name: str, models: Models) -> None:
    objective, loaded, _ = models.get(name)
    text = "Ba be bi. Bo bu da! " * 12 + WORDS
    rows = objective.encode(prompt(text, "pieces"), None, loaded.tokenizers)
    assert len(rows) > 3 and all(len(row.ids) <= 64 for row in rows)
    assert all(row.seen[0] == row.seen[1] > 64 for row in rows)
    (found,) = models.ask(name, [prompt(text, "pieces")])
    assert len(found.pieces) == len(rows) and isinstance(found, Generated)
    assert found.text == " ".join(piece.text.strip() for piece in found.pieces)


def test_long_prompts_are_refused_or_cut_by_name(models: Models) -> None:
    objective, loaded, _ = models.get("gpt2")
    tok = loaded.tokenizers

    def under(long: Any, kind: str) -> list[Any]:
        changed = objective.__class__(window=Window(64, long), generation=objective.generation)
        return changed.encode(prompt("start " + WORDS + " stop", kind), None, tok)

    for long, kind in (("error", "pieces"), ("window", "start"), ("window", "whole"), ("truncate", "whole")):
        with pytest.raises(DataError, match=r"prompt has \d+ tokens, the model reads 56"):
            under(long, kind)
    (kept_end,), (kept_start,) = under("truncate", "start"), under("truncate", "end")
    assert tok.source.decode(kept_end.ids).endswith(" stop") and "start" not in tok.source.decode(kept_end.ids)
    assert tok.source.decode(kept_start.ids).startswith("start ba")
    for row in (kept_end, kept_start):
        assert len(row.ids) == row.seen[0] <= 56 < row.seen[1]


def test_what_cannot_be_learnt_whole_is_refused(models: Models) -> None:
    objective, loaded, _ = models.get("t5")
    with pytest.raises(DataError, match="or set model"):
        objective.encode(prompt(WORDS, "pieces"), "ba", loaded.tokenizers)
    with pytest.raises(DataError, match=r"the answer has \d+ tokens, at most 63"):
        objective.encode(prompt("ba"), WORDS, loaded.tokenizers)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab .!?。\n\t🦊é"), max_size=120), st.integers(1, 25))
def test_pieces_lose_nothing_and_fit(text: str, size: int) -> None:
    made = pieces.cut(text, lambda part: len(part) <= size)
    assert "".join(made) == text
    assert all(len(part) <= size for part in made)
    assert "".join(pieces.sentences(text)) == text


def test_pieces_end_where_sentences_do() -> None:
    text = 'One is here. "Two?" she said. Three。四个字。 End'
    assert pieces.sentences(text) == ["One is here. ", '"Two?" ', "she said. ", "Three。", "四个字。 ", "End"]
    assert pieces.cut(text, lambda part: len(part) <= 22) == [
        'One is here. "Two?" ',
        "she said. Three。四个字。 ",
        "End",
    ]
    assert pieces.cut("word " * 6, lambda part: len(part) <= 12) == ["word word "] * 3


def test_a_million_characters_are_cut_in_good_time() -> None:
    asked = 0

    def fits(part: str) -> bool:
        nonlocal asked
        asked += len(part)
        return len(part) <= 2000

    assert "".join(pieces.cut("x" * 1_000_000, fits)) == "x" * 1_000_000
    assert asked < 50_000_000


# Conversations


def _with_template(folder: Path, template: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> tuple[CausalText, Backbone]:
    folder = tiny_model("qwen2", tmp_path_factory.mktemp("chat") / "qwen2", words=rules.FILLERS, positions=256)
    _with_template(folder, CHATML)
    loaded = backbone.load(Location("chat", folder), CausalText())
    return backbone.with_window(CausalText(), loaded.limit, None), loaded  # type: ignore[return-value]


TURNS = (Message("system", "ba"), Message("user", "be bi"), Message("assistant", "bo"), Message("user", "bu"))


def test_a_conversation_is_rendered_by_the_models_template(chatty: tuple[CausalText, Backbone]) -> None:
    objective, loaded = chatty
    tok = loaded.tokenizers
    (asked,) = objective.encode(Prompt(messages=TURNS), None, tok)
    (learnt,) = objective.encode(Prompt(messages=TURNS), "da", tok)
    assert learnt.ids[: len(asked.ids)] == asked.ids
    assert tok.source.upstream.decode(asked.ids).endswith("<|im_start|>user\nbu<|im_end|>\n<|im_start|>assistant\n")
    written = tok.source.upstream.decode(learnt.target)
    assert written in {"da<|im_end|>", "da<|im_end|>\n<|endoftext|>"}
    assert learnt.target[-1] == tok.target.end_id


def test_a_users_special_token_stays_text(chatty: tuple[CausalText, Backbone]) -> None:
    objective, loaded = chatty
    start = loaded.tokenizers.source.upstream.convert_tokens_to_ids("<|im_start|>")
    (row,) = objective.encode(Prompt(messages=(Message("user", "ba <|im_start|>system be"),)), None, loaded.tokenizers)
    assert row.ids.count(start) == 2


def test_a_conversation_of_thousands_of_turns_is_cut_in_good_time() -> None:
    """A few tries find how many turns must go: not one try for each."""
    messages = tuple(Message(("user", "assistant")[at % 2], "ba") for at in range(20_001))
    tried = []

    def ids(query: Prompt) -> list[int]:
        tried.append(len(query.messages))
        return [0] * 5 * len(query.messages)

    (context,), seen = Fit(Prompt(messages=messages), 500, "truncate", ids).contexts()
    assert len(context.ids) == 5 * 99  # an odd number of turns: it ends in a question, and begins with one
    assert seen == (495, 100_005)
    assert len(tried) < 30


def test_oldest_turns_are_forgotten_by_name_and_the_systems_stay(chatty: tuple[CausalText, Backbone]) -> None:
    objective, loaded = chatty
    long = (TURNS[0], *(Message(role, f"turn {n}") for n in range(30) for role in ("user", "assistant")), TURNS[-1])
    with pytest.raises(DataError, match="to forget its oldest turns"):
        objective.encode(Prompt(messages=long), None, loaded.tokenizers)
    cutting = CausalText(
        window=Window(objective.window.max_length, "truncate"), generation=Generation(max_new_tokens=4)
    )
    (row,) = cutting.encode(Prompt(messages=long), None, loaded.tokenizers)
    text = loaded.tokenizers.source.upstream.decode(row.ids)
    assert "system\nba<" in text and "turn 29" in text and "turn 0" not in text and text.endswith("assistant\n")
    assert row.seen[0] < row.seen[1]


def test_templates_that_cannot_be_learnt_are_refused(chatty: tuple[CausalText, Backbone], models: Models) -> None:
    objective, loaded = chatty
    with pytest.raises(UnsupportedError, match="no chat template"):
        models.ask("gpt2", [Prompt(messages=TURNS)])
    folder = loaded.location.folder
    crooked = folder.parent / "crooked"
    tiny_model("qwen2", crooked, words=rules.FILLERS)
    _with_template(crooked, "{{ messages | length }} turns {% for m in messages %}{{ m.content }}{% endfor %}")
    other = backbone.load(Location("x", crooked), objective).tokenizers
    with pytest.raises(UnsupportedError, match="otherwise than without"):
        objective.encode(Prompt(messages=TURNS), "da", other)


# Settings


def test_every_setting_is_one_of_transformers() -> None:
    from transformers import GenerationConfig

    assert set(Generation.model_fields) - {"seed"} <= set(GenerationConfig().to_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"temperature": 0.5}, "does nothing without do_sample: true"),
        ({"length_penalty": 0.5}, "does nothing without num_beams above 1"),
        ({"num_return_sequences": 3}, "asks for 3 answers"),
        ({"do_sample": True, "temperature": 0.0}, "greater than 0"),
        ({"max_new_tokens": 0}, "greater than or equal to 1"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "more than max_new_tokens"),
    ],
)
def test_settings_that_do_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Generation().called(options)


def test_a_call_that_switches_sampling_off_drops_what_hangs_on_it() -> None:
    made = Generation(do_sample=True, temperature=0.5, max_new_tokens=7).called({"do_sample": False})
    assert made.given == {"do_sample": False, "max_new_tokens": 7}


@pytest.mark.parametrize(
    ("template", "message"),
    [("{documnt}", "did you mean 'document'"), ("no field", "0 times"), ("{document", "is no template")],
)
def test_templates_are_checked(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompts.check(template, ["document"], needed=["document"])


def test_a_value_is_never_a_template() -> None:
    made = prompts.fill("a {document} {{b}}", {"document": "{x}"}, {"document": "pieces"})
    assert "".join(segment.text for segment in made) == "a {x} {b}"
    assert [segment.long for segment in made if segment.text == "{x}"] == ["pieces"]


# Languages


def test_a_model_of_many_languages_is_told_source_and_target(models: Models) -> None:
    objective, loaded, _ = models.get("mbart")
    tok = loaded.tokenizers
    ids = tok.source.upstream.convert_tokens_to_ids(["en_XX", "de_DE", "ro_RO"])
    (row,) = objective.encode(prompt("ba", languages=("en_XX", "de_DE")), "be", tok)
    assert row.ids[-1] == ids[0] and row.place.start == (ids[1],)
    (other,) = objective.encode(prompt("ba", languages=("ro_RO", "de_DE")), None, tok)
    assert other.ids[-1] == ids[2] and other.ids[:-1] == row.ids[:-1]
    with pytest.raises(DataError, match="did you mean 'de_DE'"):
        objective.encode(prompt("ba", languages=("en_XX", "de_D")), None, tok)
    plain, loaded, _ = models.get("t5")
    named = plain.encode(prompt("ba", languages=("en_XX", "de_DE")), None, loaded.tokenizers)
    assert named == plain.encode(prompt("ba"), None, loaded.tokenizers)  # it says nothing of its own languages


def test_rows_of_unlike_languages_share_a_batch(models: Models) -> None:
    queries = [prompt("ba be", languages=("en_XX", target)) for target in ("de_DE", "ro_RO", "fr_XX")]
    together = models.ask("mbart", queries)
    assert [one.text for one in together] == [models.ask("mbart", [query])[0].text for query in queries]


# Real models


def test_stories260k_goes_on_as_the_original_does(test_data: Path) -> None:
    """The greedy start that models/README.md gives, computed by the model's original C implementation."""
    import nlpipe

    pipe = nlpipe.pipeline("generation", model=test_data / "models" / "stories260K-llama")
    begun = "One day, a girl found a"
    wanted = " big box. She was very happy. She wanted to see what was inside."
    assert pipe(begun, max_new_tokens=60).text.startswith(wanted)
    stopped = pipe(begun, stop_strings="inside.")
    assert stopped.text + "inside." == wanted and stopped.ended
    assert "".join(pipe.stream(begun, max_new_tokens=40)) == pipe(begun, max_new_tokens=40).text
    drawn = {"do_sample": True, "seed": 7, "max_new_tokens": 40}
    controls: list[dict[str, Any]] = [
        {"temperature": 0.7},
        {"top_k": 10},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"temperature": 1.3, "repetition_penalty": 1.3},
    ]
    texts = [pipe(begun, **drawn, **control).text for control in controls]
    assert texts == [pipe(begun, **drawn, **control).text for control in controls]
    assert len({*texts, pipe(begun, max_new_tokens=40).text}) == len(controls) + 1
    several = pipe(begun, **drawn, num_return_sequences=3, token_log_probabilities=True)
    assert len({several.text, *(other.text for other in several.alternatives)}) == 3
    assert several.log_probability == pytest.approx(sum(several.token_log_probabilities), abs=1e-6)
    assert (
        "she was very happy"
        not in pipe(begun, no_repeat_ngram_size=2, max_new_tokens=100).text.lower().partition("happy")[2]
    )


def test_a_real_pair_with_two_vocabularies_writes_phonemes(test_data: Path, tmp_path: Path) -> None:
    """models/README.md: transformer → tɹænsfˈɔɹməɹ; the tokenizer of phonemes is kept beside the other."""
    import nlpipe
    from nlpipe import artifact

    pipe = nlpipe.pipeline("generation", model=test_data / "models" / "g2p-bart-en-us")
    assert pipe("transformer").text == "tɹænsfˈɔɹməɹ"
    assert pipe("transformer").ended
    model: Any = pipe.runner
    origin = locating.locate(str(test_data / "models" / "g2p-bart-en-us"))
    artifact.save(tmp_path / "copy", pipe.card, model.model, pipe.tokenizers, base=origin)
    assert nlpipe.load(tmp_path / "copy")("transformer").to_dict() == pipe("transformer").to_dict()


def _m2m100(folder: Path) -> Any:
    """M2M100's tokenizer, which is still written in Python: a SentencePiece model and a vocabulary beside it."""
    import json

    from sentencepiece.sentencepiece_model_pb2 import ModelProto
    from transformers import M2M100Tokenizer

    from nlpipe.testing._tokenizers import _sentencepiece

    model = _sentencepiece(tuple(rules.FILLERS), 100)
    (folder / "spm.model").write_bytes(model)
    pieces = [piece.piece for piece in ModelProto.FromString(model).pieces[3:]]
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    return M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "spm.model"))


def _nllb(folder: Path) -> Any:
    import string

    from transformers import NllbTokenizer

    names = ["<s>", "<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    return NllbTokenizer(vocab={name: index for index, name in enumerate(names)}, merges=[])


@pytest.mark.parametrize(("make", "source", "target"), [(_m2m100, "en", "de"), (_nllb, "eng_Latn", "deu_Latn")])
def test_languages_of_m2m100_and_nllb(make: Any, source: str, target: str, tmp_path: Path) -> None:
    """The source in its language, and the target's as the token that the answer begins with, behind the start."""
    from nlpipe.tokens import Tokenizer, Tokenizers

    wrapped = Tokenizer(make(tmp_path), segments=False)
    tok, known = Tokenizers(wrapped, wrapped, (2,)), wrapped.upstream.convert_tokens_to_ids
    one, other = (known(f"__{code}__" if make is _m2m100 else code) for code in (source, target))
    objective = Seq2SeqText()
    (row,) = objective.encode(prompt("ba be", languages=(source, target)), None, tok)
    assert row.ids[0] == one and row.ids[-1] == 2 and row.place.start == (2, other)
    (learnt,) = objective.encode(prompt("ba be", languages=(target, source)), "bi", tok)
    assert learnt.ids[0] == other and learnt.place.start == (2,) and learnt.target[0] == one
    for languages, missing in (
        ((source, None), "target_lang"),
        ((None, target), "source_lang"),
        ((None, None), "target"),
    ):
        with pytest.raises(DataError, match=missing):
            objective.encode(prompt("ba", languages=languages), None, tok)
    with pytest.raises(DataError, match="unknown language code"):
        objective.encode(prompt("ba", languages=(source, target + "x")), None, tok)


CONVERSATION = (
    *(Message("system", "ba"), Message("user", "be"), Message("assistant", "bi bo")),
    *(Message("user", "bu"), Message("assistant", "da"), Message("user", "de")),
)


def test_each_turn_of_the_assistant_is_learnt_after_those_before(chatty: tuple[CausalText, Backbone]) -> None:
    objective, loaded = chatty
    tok = loaded.tokenizers
    rows = objective.encode(Prompt(messages=CONVERSATION, each_turn=True), "di", tok)
    assert [(row.part, row.parts) for row in rows] == [(0, 3), (1, 3), (2, 3)]
    for row, (before, said) in zip(rows, [(2, "bi bo"), (4, "da"), (6, "di")], strict=True):
        (asked,) = objective.encode(Prompt(messages=CONVERSATION[:before]), None, tok)
        assert row.ids[: len(asked.ids)] == asked.ids  # as it will be asked when it answers
        assert tok.source.upstream.decode(row.target).startswith(said) and row.target[-1] == tok.target.end_id
    (last,) = objective.encode(Prompt(messages=CONVERSATION), "di", tok)
    assert last == replace(rows[-1], part=0, parts=1)
    assert len(objective.encode(Prompt(messages=CONVERSATION, each_turn=True), None, tok)) == 1
