"""Checks of a task on a model: that an answer depends on its input alone, and on all of it."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from nlpipe.errors import NlpipeError
from nlpipe.testing.cases import Check, CheckFailed, require
from nlpipe.testing.comparing import difference, differences, plain, short
from nlpipe.testing.losses import adds_up
from nlpipe.testing.odd import long_text, odd_inputs, put, text_fields
from nlpipe.testing.subjects import TaskCell

SOME = 16  # inputs of the rule that are asked: enough to mix lengths
LONG = 400  # words of a long text: several windows of a tiny model
PLACES = 8  # where in a long text a word is exchanged


def a_batch_answers_as_each_alone(cell: TaskCell) -> None:
    """Inputs of all lengths in one batch, in the same batch backwards, and one by one."""
    pipe, inputs = cell.pipe(), list(_mixed(cell))
    alone = [pipe(value) for value in inputs]
    _same(alone, pipe(inputs), inputs, "in a batch it answers otherwise than alone")
    _same(alone, pipe(inputs[::-1])[::-1], inputs, "in a batch in another order it answers otherwise")
    require(pipe([]) == [], f"an empty list gives {pipe([])!r}, not []")


def _same(ones: Sequence[Any], others: Sequence[Any], inputs: Sequence[Any], what: str) -> None:
    found = differences(ones, others, inputs)
    require(not found, f"{what}:\n{found}")


def _mixed(cell: TaskCell) -> Iterator[Any]:
    """Inputs of the rule and of the samples, and those of them that are answered with odd and long texts."""
    known = [cell.given(example) for example in cell.subject.rows.examples[:SOME]]
    yield from known
    yield from (cell.given(sample) for sample in cell.subject.samples.examples)
    pipe = cell.pipe()
    for value in [*odd_inputs(known[0]).values(), *_long_inputs(cell)]:
        try:
            pipe(value)
        except NlpipeError:
            continue
        yield value


def _long_inputs(cell: TaskCell) -> Iterator[dict[str, Any]]:
    given = cell.given(cell.subject.rows.examples[0])
    for name in text_fields(given):
        yield put(given, _long(cell), name)


def _long(cell: TaskCell) -> str:
    return long_text(cell.subject.words or ("one", "two", "three"), LONG)


def padding_does_not_matter(cell: TaskCell) -> None:
    """The side that the tokenizer pads on is not asked, and rows of a training batch do not see each other."""
    pipe, inputs = cell.pipe(), [cell.given(example) for example in cell.subject.rows.examples[:SOME]]
    before = pipe(inputs)
    tokenizer = pipe.tokenizers.source.upstream
    tokenizer.padding_side = "left" if tokenizer.padding_side == "right" else "right"
    _same(before, pipe(inputs), inputs, "the answers depend on the tokenizer's padding side")
    adds_up(cell.fresh())


def odd_inputs_are_answered(cell: TaskCell) -> None:
    """Empty, emoji, right to left, nothing visible: an answer, or a sentence that says what is wrong."""
    pipe, given = cell.pipe(), cell.given(cell.subject.rows.examples[0])
    for what, value in odd_inputs(given).items():
        result = _answered(cell, pipe, value, what)
        if result is not None and result.seen is not None:
            read, there = result.seen
            require(read == there, f"of {what} it read {read} of {there} tokens without a word")


def _answered(cell: TaskCell, pipe: Any, value: Any, what: str) -> Any:
    """The Result, or None for an input that was refused in a sentence."""
    try:
        result = pipe(value)
    except NlpipeError as error:
        require(str(error).strip(), f"{what} is refused without a word")
        return None
    except Exception as error:
        raise CheckFailed(f"{what} ends with {type(error).__name__}: {error}\n  {short(value)}") from error
    require(isinstance(result, cell.task.Result), f"{what} gives a {type(result).__name__}")
    return result


def long_text_is_read_to_its_end(cell: TaskCell) -> None:
    """A text of several windows: every part of it counts for the answer, and the tokens are counted."""
    from nlpipe.answering import answer

    pipe, given = cell.pipe(), cell.given(cell.subject.rows.examples[0])

    def ask(value: Any) -> Any:
        query = pipe.task.query(pipe.given(value), pipe.objective)
        rows = pipe.objective.encode(query, None, pipe.tokenizers)
        return rows, answer(pipe.objective, pipe.runner, pipe.tokenizers, [(query, rows)])[0]

    words = _long(cell).split()
    for name in text_fields(given):
        value = put(given, " ".join(words), name)
        if _answered(cell, pipe, value, f"a long text in {name}") is None:
            continue
        rows, whole = ask(value)
        read, there = rows[0].seen
        require(read == there >= LONG, f"of {LONG} words in {name} it read {read} of {there} tokens without a word")
        for place in range(PLACES):
            at = place * (LONG - 1) // (PLACES - 1)
            other = next(word for word in words if word != words[at])
            _, moved = ask(put(given, " ".join([*words[:at], other, *words[at + 1 :]]), name))
            require(
                difference(plain(whole), plain(moved), 0.0) is not None,
                f"word {at} of {LONG} in {name} could be any other: what stands there does not reach the answer",
            )


def offsets_cut_what_they_claim(cell: TaskCell) -> None:
    """Every `text` of a result is what its `start` and `end` cut out of the input, also among odd characters."""
    pipe, found = cell.pipe(), 0
    given = [cell.given(example) for example in cell.subject.rows.examples]
    inputs: list[Any] = list(given)
    for at, one in enumerate(given):
        odd = list(odd_inputs(one).items())
        fields = text_fields(one)
        if fields:
            name, text = fields[-1], getattr(one, fields[-1])
            prefix = odd[at % len(odd)][1].get(name, "")
            inputs.append(put(one, f"{prefix} {text} {prefix}", name))
    for value in inputs:
        result = _answered(cell, pipe, value, short(value))
        if result is None:
            continue
        spans = list(_spans(result.to_dict()))
        found += len(spans)
        _cut(value, spans)
    require(found, f"not one of {len(inputs)} answers has an offset, so that none could be looked at")


def _cut(value: Any, spans: Sequence[dict[str, Any]]) -> None:
    values = value if isinstance(value, dict) else value.model_dump(exclude_none=True)
    sources = [" ".join(v) if isinstance(v, list | tuple) else v for v in values.values()]
    texts = [text for text in sources if isinstance(text, str)]
    for span in spans:
        start, end, text = span["start"], span["end"], span["text"]
        require(0 <= start < end, f"an answer to {short(value)} runs from {start} to {end}")
        cut = [source[start:end] for source in texts]
        require(text in cut, f"from {start} to {end} of {short(value, 200)} stands {cut}, and the answer says {text!r}")
        score = span.get("score")
        require(score is None or 0 <= score <= 1, f"the score of {text!r} is {score}, not a probability")


def _spans(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("start") is not None and value.get("end") is not None and "text" in value:
            yield value
        for item in value.values():
            yield from _spans(item)
    elif isinstance(value, list):
        for item in value:
            yield from _spans(item)


def has_offsets(kind: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a Result, or something in it, has `start` and `end`."""
    if kind in seen:
        return False
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {"start", "end"} <= hints.keys() or any(has_offsets(hint, seen | {kind}) for hint in hints.values())
    return any(has_offsets(argument, seen) for argument in typing.get_args(kind))


def results_survive_json(cell: TaskCell) -> None:
    """What a model answers goes to JSON and comes back equal."""
    pipe, given = cell.pipe(), cell.given(cell.subject.rows.examples[0])
    odd = [_answered(cell, pipe, value, what) for what, value in odd_inputs(given).items()]
    for result in [*cell.learnt.results, *(one for one in odd if one is not None)]:
        try:
            text = json.dumps(result.to_dict(), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CheckFailed(f"a result is no JSON: {error}\n  {short(result)}") from error
        again = type(result).from_dict(json.loads(text))
        require(again == result, f"a result comes back from JSON as {short(again)}, was {short(result)}")


CHECKS = (
    Check(
        "a_batch_answers_as_each_alone",
        "A batch of n inputs is answered as n of one, in any order; an empty list gives an empty list.",
        "collate() and compute(): padding that is not masked, positions that count it; predict() and join(): rows of "
        "other examples; a tensor that is reduced over the whole batch.",
        a_batch_answers_as_each_alone,
    ),
    Check(
        "padding_does_not_matter",
        "The tokenizer's padding side changes no answer, and neighbours in a training batch change no loss.",
        "collate(): pad and mask by yourself (nlpipe.tensors), on the right; loss(): a sum over terms, never a mean "
        "over the batch.",
        padding_does_not_matter,
    ),
    Check(
        "odd_inputs_are_answered",
        "Empty, emoji, right to left, invisible: each text is answered, or refused in a sentence.",
        "query(), encode() (a text without any token) and result() (an answer without any word).",
        odd_inputs_are_answered,
    ),
    Check(
        "long_text_is_read_to_its_end",
        "A text longer than the model reads is read to its end, or refused: no part of it is dropped in silence.",
        "encode() (a row for each window of `self.window`), join() (the answers of all rows) and `seen`.",
        long_text_is_read_to_its_end,
    ),
    Check(
        "offsets_cut_what_they_claim",
        "Offsets are characters of the input as it was given, and cut the text that the answer says.",
        "result(): offsets count in the original text, not in a stripped or lower-cased one, and not in tokens.",
        offsets_cut_what_they_claim,
        when=lambda subject: has_offsets(subject.task.Result),
    ),
    Check(
        "results_survive_json",
        "A result goes to JSON and comes back equal.",
        "the fields of Result: plain values (float(x), not numpy's), tuples that _restore() brings back.",
        results_survive_json,
    ),
)
