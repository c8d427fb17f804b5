"""What transformers 5 has lost: answers from a context, and all that a pair of encoder and decoder writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import nlpipe
from nlpipe.compat import pipeline
from nlpipe.errors import DataError, UnsupportedError
from tests.compat.support import TEXTS, base, headed, same

CONTEXT = "Ada Lovelace was born in London in December 1815. She wrote notes on an engine."
QUESTION = "Where was she born?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def asked(folder: Path) -> Any:
    return pipeline("question-answering", model=headed("bert", "QuestionAnswering", folder))


def best(folder: Path, context: str, *, longest: int = 15, to_words: bool = False) -> dict[tuple[int, int], float]:
    """The probability of each stretch by its characters, worked out token by token from the model's own numbers."""
    place = headed("bert", "QuestionAnswering", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(place)
    read = tokenizer(QUESTION, context, return_tensors="pt", return_offsets_mapping=True)
    with torch.inference_mode():
        out = network(**{name: read[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
    second = [at for at, part in enumerate(read.sequence_ids(0)) if part == 1]
    kept = [0, *second]  # [CLS] takes part in the softmax, as "no answer"
    starts, ends = (one[0].numpy().astype(float)[kept] for one in (out.start_logits, out.end_logits))
    starts, ends = (np.exp(one) / np.exp(one).sum() for one in (starts, ends))
    found: dict[tuple[int, int], float] = {(0, 0): float(starts[0] * ends[0])}
    offsets = read["offset_mapping"][0].tolist()
    for i, first in enumerate(second):
        for j, last in enumerate(second[i : i + longest], i):
            where = (offsets[first][0], offsets[last][1])
            if to_words:
                where = (
                    read.word_to_chars(0, read.token_to_word(0, first), 1).start,
                    read.word_to_chars(0, read.token_to_word(0, last), 1).end,
                )
            found[where] = max(found.get(where, 0.0), float(starts[1 + i] * ends[1 + j]))
    return found


def test_answers_are_the_products_of_both_probabilities(folder: Path, asked: Any) -> None:
    chances = best(folder, CONTEXT)
    found = asked(question=QUESTION, context=CONTEXT, top_k=3, align_to_words=False)
    none = chances.pop((0, 0))
    ranked = sorted(chances, key=lambda one: -chances[one])
    assert [(one["start"], one["end"]) for one in found] == ranked[:3]
    for one in found:
        assert list(one) == ["score", "start", "end", "answer"]
        assert one["answer"] == CONTEXT[one["start"] : one["end"]]
        assert one["score"] == pytest.approx(chances[one["start"], one["end"]], rel=1e-4)
    short = asked(question=QUESTION, context=CONTEXT, max_answer_len=1, align_to_words=False)
    alone = best(folder, CONTEXT, longest=1)
    del alone[0, 0]
    assert (short["start"], short["end"]) == max(alone, key=alone.__getitem__)
    with_none = asked(question=QUESTION, context=CONTEXT, top_k=50, handle_impossible_answer=True)
    (empty,) = [one for one in with_none if not one["answer"]]
    assert empty == {"score": pytest.approx(none, rel=1e-4), "start": 0, "end": 0, "answer": ""}


def test_answers_are_widened_to_words(folder: Path, asked: Any) -> None:
    found = asked(question=QUESTION, context=CONTEXT, top_k=5)
    chances = best(folder, CONTEXT, to_words=True)
    for one in found:
        assert (one["start"], one["end"]) in chances
        before, after = CONTEXT[: one["start"]], CONTEXT[one["end"] :]
        assert not before[-1:].isalnum() or not one["answer"][0].isalnum()
        assert not after[:1].isalnum() or not one["answer"][-1].isalnum()
        assert one["score"] >= chances[one["start"], one["end"]] * 0.9999  # the sum over tokens that widen to it


def test_questions_come_in_many_forms(asked: Any) -> None:
    one = asked(question=QUESTION, context=CONTEXT)
    assert isinstance(one, dict)
    pair = {"question": QUESTION, "context": CONTEXT}

    class Squad:
        question_text, context_text = QUESTION, CONTEXT

    for form in (pair, [pair], Squad(), [Squad()]):
        assert asked(form) == one
    assert asked(QUESTION, CONTEXT) == one
    assert asked(question=[QUESTION, QUESTION], context=CONTEXT) == [one, one]
    assert asked(question=[QUESTION] * 2, context=[CONTEXT] * 2) == [one, one]
    assert asked([pair, pair]) == [one, one] == list(asked(row for row in (pair, pair)))
    assert asked(**pair, topk=2) == asked(**pair, top_k=2) != one
    made = pipeline("question-answering", model=asked.model, tokenizer=asked.tokenizer, top_k=2)
    assert made(**pair) == asked(**pair, top_k=2)


def test_long_contexts_are_read_in_windows(asked: Any) -> None:
    """An answer at the end is found there, in characters of the whole; equal texts of several windows are summed."""
    long = " ".join(TEXTS[:3]) + " " + CONTEXT
    found = asked(question=QUESTION, context=long, top_k=5, max_seq_len=40, doc_stride=10)
    assert all(one["answer"] == long[one["start"] : one["end"]] for one in found)
    assert len({one["answer"].lower() for one in found}) == 5
    with pytest.raises(DataError, match=r"doc_stride \(50\) must be less than max_seq_len \(40\)"):
        asked(question=QUESTION, context=long, max_seq_len=40, doc_stride=50)


def test_questions_that_are_none(asked: Any) -> None:
    for inputs, options, said in [
        ((), {"question": QUESTION}, "`context` is missing"),
        ((), {"question": QUESTION, "context": ""}, "`context` is empty"),
        (({"question": QUESTION},), {}, "`context` is missing"),
        (({"question": QUESTION, "contxt": CONTEXT},), {}, "without 'contxt'"),
        ((3,), {}, "not int"),
        ((), {"question": ["a", "b"], "context": ["c"]}, "2 questions and 1 contexts"),
    ]:
        with pytest.raises(DataError, match=said):
            asked(*inputs, **options)


WRITERS = ["t5", "bart", *(pytest.param(one, marks=pytest.mark.slow) for one in ("marian", "mbart", "nllb"))]


@pytest.mark.parametrize("architecture", WRITERS)
def test_texts_are_those_of_generate(folder: Path, architecture: str) -> None:
    """Token for token, with the names and shapes of each pipeline, one text or several."""
    place = base(architecture, folder)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    for task, key, options in (
        ("summarization", "summary", {"max_length": 12, "min_length": 3}),
        ("text2text-generation", "generated", {"max_new_tokens": 6}),
        ("text2text-generation", "generated", {"max_new_tokens": 5, "num_beams": 1, "no_repeat_ngram_size": 2}),
    ):
        pipe = pipeline(task, model=str(place))
        wanted = []
        for text in TEXTS[:2]:
            ids = network.generate(**tokenizer(text, return_tensors="pt"), **{"num_beams": 4, **options})[0]
            told = pipe(text, return_tensors=True, **options)[0]
            assert list(told) == [f"{key}_token_ids"]
            assert told[f"{key}_token_ids"].tolist() == ids.tolist(), f"{task} {options}"
            wanted.append([{f"{key}_text": tokenizer.decode(ids, skip_special_tokens=True)}])
        assert pipe(TEXTS[0], **options) == wanted[0]
        assert pipe(TEXTS[:2], **options) == [one for (one,) in wanted]
    several = pipe(TEXTS[:2], num_beams=3, num_return_sequences=2, max_new_tokens=3)
    assert [[list(one) for one in answers] for answers in several] == [[["generated_text"]] * 2] * 2


def test_languages(folder: Path, tmp_path: Path) -> None:
    """In the task's name, in the call, or in the model's files; a model that is told none hears none."""
    place = str(base("nllb", folder))
    options = {"max_new_tokens": 4, "num_beams": 1}
    by_call = pipeline("translation", model=place)(TEXTS[0], src_lang="eng_Latn", tgt_lang="deu_Latn", **options)
    made = pipeline("translation", model=place, src_lang="eng_Latn", tgt_lang="deu_Latn", **options)
    assert made(TEXTS[0]) == by_call != made(TEXTS[0], tgt_lang="fra_Latn")
    with pytest.raises(DataError, match=r"tgt_lang is not given: pipe\(text, tgt_lang=…\)"):
        pipeline("translation", model=place)(TEXTS[0], src_lang="eng_Latn")
    own = tmp_path / "own"  # as a model of one pair states it in its files
    shutil.copytree(place, own)
    stated = json.loads((own / "tokenizer_config.json").read_text()) | {"src_lang": "eng_Latn", "tgt_lang": "deu_Latn"}
    (own / "tokenizer_config.json").write_text(json.dumps(stated))
    assert pipeline("translation", model=str(own))(TEXTS[0], **options) == by_call
    ours = nlpipe.pipeline("translation", model=own)
    assert ours(TEXTS[0], **options) == ours(TEXTS[0], source_lang="eng_Latn", target_lang="deu_Latn", **options)
    assert ours(TEXTS[0], **options) != ours(TEXTS[0], target_lang="fra_Latn", **options)
    with pytest.raises(DataError, match="`target_lang` is not given"):
        nlpipe.pipeline("translation", model=place)({"source": TEXTS[0], "source_lang": "eng_Latn"})
    tokens = made(TEXTS[0], return_tensors=True)[0]["translation_token_ids"].tolist()
    assert tokens[1] == made.tokenizer.convert_tokens_to_ids("deu_Latn")
    assert len(tokens) == 5  # the decoder's start, and four new ones of which the language is one
    plain = pipeline("translation_en_to_de", model=str(base("bart", folder)))
    assert list(plain(TEXTS[0], max_new_tokens=3)[0]) == ["translation_text"]


def test_settings_of_a_task_in_the_models_config(folder: Path, tmp_path: Path) -> None:
    """T5's own: a prefix and settings of generation for one task, which a call stands over."""
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(base("t5", folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base("t5", folder))
    network.config.task_specific_params = {
        "summarization": {"prefix": "fox: ", "max_length": 7, "num_beams": 2, "early_stopping": True},
        "translation_en_to_fr": {"prefix": "bird: ", "max_length": 5},
    }
    network.save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    for task, prefix, options in (
        ("summarization", "fox: ", {"max_length": 7, "num_beams": 2, "early_stopping": True}),
        ("translation_en_to_fr", "bird: ", {"max_length": 5, "num_beams": 4}),
    ):
        ids = network.generate(**tokenizer(prefix + TEXTS[0], return_tensors="pt"), **options)[0]
        told = pipeline(task, model=str(tmp_path / "t5"))(TEXTS[0], return_tensors=True)[0]
        assert next(iter(told.values())).tolist() == ids.tolist()
    longer = pipeline("summarization", model=str(tmp_path / "t5"))(TEXTS[0], return_tensors=True, max_new_tokens=9)[0]
    assert len(longer["summary_token_ids"]) == 10


def test_long_sources_are_read_whole(folder: Path) -> None:
    """In pieces at sentence borders, or cut where that is asked for; a summary of summaries ends."""
    place, long = str(base("bart", folder)), " ".join(TEXTS[:3] * 4)
    options = {"max_new_tokens": 4, "num_beams": 1}
    translated = pipeline("translation", model=place)
    whole, cut = (
        translated(long, truncation=truncation, return_tensors=True, **options)[0]["translation_token_ids"]
        for truncation in (None, True)
    )
    assert len(cut) <= 5 < len(whole)
    (short,) = pipeline("summarization", model=place)([long], return_tensors=True, **options)
    assert len(short["summary_token_ids"]) < len(whole)


def test_drawn_texts_follow_the_global_seed(folder: Path) -> None:
    """`transformers.set_seed` decides, as it did."""
    pipe = pipeline("text-generation", model=str(base("gpt2", folder)), max_new_tokens=8)
    found = []
    for seed in (1, 1, 2):
        transformers.set_seed(seed)
        found.append(pipe(TEXTS[0]))
    assert found[0] == found[1] != found[2]


def test_ends_and_prefixes(folder: Path) -> None:
    pipe = pipeline("text-generation", model=str(base("gpt2", folder)), do_sample=False)
    whole = pipe(TEXTS[0], max_new_tokens=8, return_full_text=False)[0]["generated_text"]
    ids = pipe(TEXTS[0], max_new_tokens=8, return_tensors=True)[0]["generated_token_ids"]
    stop = whole[2:4]
    assert pipe(TEXTS[0], max_new_tokens=8, return_full_text=False, stop_sequence=stop)[0]["generated_text"].endswith(
        stop
    )
    ended = pipe(TEXTS[0], max_new_tokens=8, return_tensors=True, eos_token_id=ids[-6])[0]["generated_token_ids"]
    assert ended == ids[:-5]
    config = transformers.GenerationConfig(max_new_tokens=3)
    assert pipe(TEXTS[0], generation_config=config) == pipe(TEXTS[0], max_new_tokens=3)
    told = pipe("fox", prefix="The old ", max_new_tokens=3, return_tensors=True)
    assert told == pipe("The old fox", max_new_tokens=3, return_tensors=True)
    with pytest.raises(
        DataError, match=r"the prompt has \d+ tokens, the model reads 64.*handle_long_generation='hole'"
    ):
        pipe(" ".join(TEXTS * 4))
    assert len(pipe(" ".join(TEXTS * 4), handle_long_generation="hole", max_new_tokens=4)) == 1
    with pytest.raises(UnsupportedError, match="return_tensors goes with neither"):
        pipe("a", return_tensors=True, return_full_text=True)


def test_models_of_ours(folder: Path, tmp_path: Path) -> None:
    """A folder that nlpipe wrote is a plain one, and answers alike."""
    from nlpipe import artifact
    from nlpipe import pipeline as own

    plain = headed("bert", "SequenceClassification", folder, ("no", "so", "yes"))
    pipe = own("classification", model=plain)
    network: Any = pipe.runner.model  # type: ignore[attr-defined]
    artifact.save(tmp_path / "ours", pipe.card, network, pipe.tokenizers, base=artifact.Location(plain, Path(plain)))
    ours = pipeline("text-classification", model=tmp_path / "ours")
    same(ours(TEXTS), pipeline("text-classification", model=plain)(TEXTS))
