"""The tasks that write: what they ask, what they refuse, their scores as the libraries have them, long documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpipe
from nlpipe import DataError, UnsupportedError, backbone
from nlpipe.locating import Location
from nlpipe.objectives import CausalText, Seq2SeqText
from nlpipe.objectives.base import Generated, Prompt, Query, Segment
from nlpipe.results import Text
from nlpipe.testing import rules
from nlpipe_generation import Writing
from nlpipe_generation.scores import EXACT_MATCH
from nlpipe_summarization import Summarization
from nlpipe_summarization.scores import ROUGE_1, ROUGE_2, ROUGE_L, ROUGE_LSUM
from nlpipe_translation import Translation
from nlpipe_translation.scores import BLEU, CHRF, TER
from tests.support import Trainings
from tests.test_writing_folders import CELLS, recipe_for, unseen

SAID = ["the cat sat on the mat", "a small dog", "", "Straße — 3.5 Häuser!", "one"]
RIGHT = ["the cat sat on a mat", "a very small dog barked", "nothing", "Straße — 3.5 Häuser.", "one"]


def texts(said: list[str]) -> list[Text]:
    return [Text(text, True, None) for text in said]


def words(prompt: Query) -> str:
    assert isinstance(prompt, Prompt)
    return "".join(segment.text for segment in prompt.segments)


# Scores


def test_bleu_and_chrf_are_sacrebleus_for_any_rows() -> None:
    import sacrebleu

    rows = [Translation.Example(source="x", target=text) for text in RIGHT]
    for chosen in ([0, 1, 2, 3, 4], [0], [3, 3, 1], [4, 0, 0]):
        said, right = [SAID[i] for i in chosen], [[RIGHT[i] for i in chosen]]
        counted = {metric: metric.rows(texts(SAID), rows)[chosen] for metric in (BLEU, CHRF, TER)}
        assert TER.value(counted[TER]) == pytest.approx(sacrebleu.corpus_ter(said, right).score)
        assert BLEU.value(counted[BLEU]) == pytest.approx(sacrebleu.corpus_bleu(said, right).score)
        assert CHRF.value(counted[CHRF]) == pytest.approx(sacrebleu.corpus_chrf(said, right).score)
    assert BLEU.score(texts(RIGHT), rows) == pytest.approx(100.0) == BLEU.perfect


def test_the_signatures_are_sacrebleus() -> None:
    from sacrebleu.metrics.bleu import BLEU as TheirBleu
    from sacrebleu.metrics.chrf import CHRF as TheirChrf
    from sacrebleu.metrics.ter import TER as TheirTer

    bleu, chrf, ter = TheirBleu(), TheirChrf(), TheirTer()
    for metric in (bleu, chrf, ter):
        metric.corpus_score(["a"], [["a"]])
    assert BLEU.signature == f"BLEU|{bleu.get_signature()}"
    assert CHRF.signature == f"chrF2|{chrf.get_signature()}"
    assert TER.signature == f"TER|{ter.get_signature()}"
    assert TER.score(texts(RIGHT), [Translation.Example(source="x", target=text) for text in RIGHT]) == TER.perfect


def test_rouge_is_rouge_scores_and_takes_the_best_reference() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    said, right = "the cat sat on the mat. it slept", "a cat sat on the mat. it was asleep"
    row = Summarization.Example(document="d", summaries=("nothing alike", right))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    lines = scorer.score(right.replace(". ", ".\n"), said.replace(". ", ".\n"))
    for metric, name in ((ROUGE_1, "rouge1"), (ROUGE_2, "rouge2"), (ROUGE_L, "rougeL"), (ROUGE_LSUM, "rougeLsum")):
        theirs = lines if name == "rougeLsum" else scorer.score(right, said)
        assert metric.score(texts([said]), [row]) == pytest.approx(theirs[name].fmeasure)


@pytest.mark.parametrize(
    "text", ["Рыжая лиса видит трёх птиц.", "速いキツネが橋を渡る。", "الثعلب يعبر الجسر", "Zoë's café"]
)
def test_rouge_reads_every_script(text: str) -> None:
    row = Summarization.Example(document="d", summary=text)
    for metric in (ROUGE_1, ROUGE_2, ROUGE_L, ROUGE_LSUM):
        assert metric.score(texts([text]), [row]) == pytest.approx(1.0)
        assert metric.score(texts(["xyz"]), [row]) == 0.0


def test_an_exact_match_is_exact_but_for_space_around_it() -> None:
    rows = [Writing.Example(prompt="p", completion=text) for text in (" a b", "a b", "a  b")]
    assert EXACT_MATCH.rows(texts(["a b", "A b", "a b"]), rows).tolist() == [[1.0], [0.0], [0.0]]
    assert np.isnan(EXACT_MATCH.value(EXACT_MATCH.rows([], [])))


# What is asked, and what is refused


def test_a_prompt_stands_in_its_template_and_a_chat_has_its_turns() -> None:
    task = Writing(options=Writing.Options(template="Q: {prompt}\nA:", system="Be kind."))
    asked = task.query(Writing.Input(prompt="why {x}?"), CausalText())
    assert isinstance(asked, Prompt)
    assert [(turn.role, turn.text) for turn in asked.messages] == [("system", "Be kind."), ("user", "Q: why {x}?\nA:")]
    plain = Writing(options=Writing.Options(template="Q: {prompt}\nA:"))
    assert words(plain.query(Writing.Input(prompt="why?"), CausalText())) == "Q: why?\nA:"


def test_a_conversations_last_turn_is_its_answer() -> None:
    from nlpipe.data import load_splits

    turns = [{"role": "user", "content": "ba"}, {"role": "assistant", "content": "be"}]
    (read,) = load_splits({"test": [{"messages": turns}]}, Writing.Example, {}, seed=1)["test"].examples
    assert read.completion == "be" and [turn.content for turn in read.messages] == ["ba"]
    example = Writing.Example.model_validate_json(json.dumps({"messages": turns}))
    assert example.completion == "be" and example.messages is not None and len(example.messages) == 1
    beside = [{"messages": turns[:1], "completion": "be"}]
    (read,) = load_splits({"test": beside}, Writing.Example, {}, seed=1)["test"].examples
    assert read.completion == "be" and [turn.content for turn in read.messages] == ["ba"]


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (Writing, {}, "a `prompt` or `messages`; here is neither"),
    (Writing, {"prompt": "a", "messages": ()}, "here is both"),
    (Writing, {"messages": ()}, "`messages` is empty"),
    (Summarization, {"document": " \n"}, "`document` is empty"),
    (Translation, {"source": " \n"}, "`source` is empty"),
]


@pytest.mark.parametrize(("kind", "row", "message"), BAD)
def test_inputs_that_ask_nothing_are_refused(kind: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        kind().query(kind.Input(**row), Seq2SeqText())


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (Writing, {"prompt": "a"}, "`completion` .or `completions`, a list. is missing or empty"),
        (Translation, {"source": "a", "target": " "}, "`target` .or `targets`, a list. is missing or empty"),
        (Summarization, {"document": "a", "summaries": ["b", ""]}, "missing or empty"),
        (Summarization, {"document": "a"}, "missing or empty"),
    ],
)
def test_rows_without_a_right_answer_are_refused(kind: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        kind().gold(kind.Example.model_validate_json(json.dumps(row)), Seq2SeqText())


def test_a_translation_names_its_languages() -> None:
    task = Translation(options=Translation.Options(target_lang="de_DE"))
    row = Translation.Input(source="ba", source_lang="en_XX")
    assert task.query(row, Seq2SeqText()).languages == ("en_XX", "de_DE")  # type: ignore[attr-defined]
    prefix = Translation(options=Translation.Options(template="translate {source_lang} to {target_lang}: {source}"))
    with pytest.raises(DataError, match="`target_lang` is missing"):
        prefix.query(row, Seq2SeqText())
    asked = prefix.with_call({"target_lang": "German"}).query(row, Seq2SeqText())
    assert words(asked) == "translate en_XX to German: ba" and asked.languages is None  # type: ignore[attr-defined]
    assert words(task.query(row, CausalText())) == "ba\n=>"


def test_the_first_sentences_are_the_summary_to_beat() -> None:
    task, rows = Summarization(), Summarization.samples()
    (name,) = found = task.baselines(rows, rows)
    assert name == "lead-1"
    assert found[name][0].text == "The bridge over the river will be closed from Monday."


# Long texts


def test_a_long_document_is_summarised_by_parts_and_again(trainings: Trainings) -> None:
    rule = CELLS["summarization"]
    pipe = trainings.get("summarization-bart", "bart", recipe_for(rule, "bart")).load()
    document = ". ".join(source for source, _ in unseen(rule)[:60]) + "."
    found = pipe(document)
    assert found.seen[0] == found.seen[1] > 200
    asked = pipe.objective.encode(pipe.task.query(pipe.given(document), pipe.objective), None, pipe.tokenizers)
    assert len(asked) > 3
    # One summary, not one for each part: the parts' were put together and summarised in their turn.
    assert len(found.text.split()) <= 12


def test_parts_that_are_no_shorter_are_the_answer(trainings: Trainings) -> None:
    query = Prompt((Segment("ba be bi bo", "pieces"),))
    objective = Seq2SeqText()
    rows = [object(), object()]
    long = Generated("ba be bi bo bu", True)
    from nlpipe.objectives.continuing import _again

    assert rows and _again(query, [long.text, long.text]) is None
    shorter = _again(query, ["a", "b"])
    assert shorter is not None and words(shorter) == "a\nb" and objective.writes


def test_a_long_text_is_translated_piece_by_piece_in_order(trainings: Trainings) -> None:
    rule = CELLS["translation"]
    pipe = trainings.get("translation-bart", "bart", recipe_for(rule, "bart")).load()
    sources = [source for source, _ in unseen(rule)[:40]]
    found = pipe("\n".join(sources))
    rows = pipe.objective.encode(pipe.task.query(pipe.given("\n".join(sources)), pipe.objective), None, pipe.tokenizers)
    assert len(rows) > 2 and found.seen[0] == found.seen[1]
    pieces = [pipe.tokenizers.source.decode(row.ids) for row in rows]
    assert found.text.split("\n") == [pipe(piece).text for piece in pieces]


# Recipes and calls


def test_generation_settings_are_kept_and_replaced_for_a_call(trainings: Trainings) -> None:
    trained = trainings.get("generation-bart", "bart", recipe_for(CELLS["generation"], "bart"))
    pipe = trained.load()
    assert pipe.card.generation == {"max_new_tokens": 12}
    whole = pipe("ba be bi")
    cut = pipe("ba be bi", max_new_tokens=1)
    assert not cut.ended and whole.ended and whole.text.startswith(cut.text)
    assert [one.text for one in pipe.map(["ba be bi"], max_new_tokens=1)] == [cut.text]  # type: ignore[union-attr]
    assert pipe("ba be bi") == whole  # a call leaves nothing behind
    with pytest.raises(UnsupportedError, match="did you mean 'max_new_tokens'"):
        pipe("ba", max_tokens=3)
    assert pipe("ba", token_log_probabilities=True).token_log_probabilities
    assert "".join(pipe.stream("ba be bi")).strip() == whole.text


def test_what_writes_nothing_says_what_can(trainings: Trainings) -> None:
    pipe = trainings.get("bert", "bert").load()
    with pytest.raises(UnsupportedError, match=r"writes no text.*generation.*translation"):
        pipe.stream("ba")
    with pytest.raises(UnsupportedError, match="unknown option 'temperature' for classification"):
        pipe("ba", temperature=0.5)


def test_generation_settings_of_a_task_that_writes_nothing_are_refused(trainings: Trainings, tmp_path: Path) -> None:
    from nlpipe.running import run
    from tests.support import recipe

    trained = trainings.get("bert", "bert")
    with pytest.raises(UnsupportedError, match=r"generation\.num_beams does nothing for SequenceLabel"):
        run(recipe(trained.backbone, tmp_path / "run", generation={"num_beams": 2}))


def test_a_recipe_refuses_unknown_settings_with_the_nearest() -> None:
    from nlpipe.plugins import Plugins
    from nlpipe.recipe import build

    settings = {"task": "generation", "model": {"backbone": "x"}, "data": {"test": "t.jsonl"}}
    with pytest.raises(nlpipe.RecipeError) as caught:
        build({**settings, "generation": {"num_beam": 2}}, Plugins.discover().tasks)
    assert "generation.num_beam" in str(caught.value) and "num_beams" in str(caught.value)
    with pytest.raises(nlpipe.RecipeError, match="does nothing without do_sample"):
        build({**settings, "generation": {"temperature": 0.2}}, Plugins.discover().tasks)


def test_a_result_goes_to_json_and_back() -> None:
    result = Text("a", True, -1.0, (Text("b", False, None),), (-0.5, -0.5), seen=(3, 3))
    assert Text.from_dict(result.to_dict()) == result


def test_the_rules_words_are_whole(trainings: Trainings) -> None:
    """What the tests above rely on: a made-up word is one token of the tiny models."""
    folder = trainings.get("generation-bart", "bart", recipe_for(CELLS["generation"], "bart")).backbone
    tok = backbone.load(Location("x", folder), Seq2SeqText()).tokenizers
    assert {len(tok.source.encode(f" {word}").ids) for word in rules.FILLERS} == {1}
