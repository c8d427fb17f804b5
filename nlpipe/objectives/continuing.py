"""How a text is gone on from: what is asked of a runner, what it wrote, and the text that its tokens are.

Knows no prompt and no family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nlpipe.objectives.base import Generated, Prompt, Row, Segment

if TYPE_CHECKING:
    from nlpipe.tokens import Tokenizer


@dataclass(frozen=True, slots=True)
class Wish:
    """How a batch is to be continued.

    `settings` are GenerationConfig's fields; `most` is how many tokens each row has room for, which
    `max_new_tokens` may lower; `ends` the tokens that end an answer and `pad` the one that fills. With
    `seeds` tokens are drawn: one seed per row and answer, so that a row's answer does not depend on its
    neighbours. `stop` says whether the tokens written so far end an answer.
    """

    settings: Mapping[str, Any]
    most: Sequence[int]
    ends: frozenset[int]
    pad: int
    answers: int = 1
    seeds: Sequence[Sequence[int]] | None = None
    stop: Callable[[Sequence[int]], bool] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens of one answer, with its end token where `ended` by one; `ended` is also true at a stop string.

    `scores` are ln p of each token under the model itself, None where the writing did not tell them.
    """

    ids: tuple[int, ...]
    ended: bool
    scores: tuple[float, ...] | None = None


def text_pieces(tokens: Iterator[int], text_of: Callable[[list[int]], str], stops: Sequence[str]) -> Iterator[str]:
    """What each token adds to the text. What may be the start of a stop string, or half a character, is held back."""
    ids: list[int] = []
    told = ""
    for token in tokens:
        ids.append(token)
        text = text_of(ids)
        if any(stop in text for stop in stops):
            break
        held = max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        ready = text[: len(text) - held]
        if ready.endswith("�") or not ready.startswith(told):
            continue
        if len(ready) > len(told):
            yield ready[len(told) :]
            told = ready
    text = text_of(ids) if ids else ""
    for stop in stops:
        text = text.partition(stop)[0]
    if text.startswith(told) and len(text) > len(told):
        yield text[len(told) :]


def joined(query: Prompt, rows: Sequence[Row], found: Sequence[Generated]) -> Generated:
    """The answers to all pieces of a prompt as one, the pieces' in their order with the space between them."""
    if len(found) == 1:
        return found[0]
    texts = tuple(one.text.strip() for one in found)
    last = len(texts) - 1
    whole = "".join(
        text + (row.place.after if at < last else "") for at, (text, row) in enumerate(zip(texts, rows, strict=True))
    )
    scores = tuple(score for one in found for score in one.token_log_probabilities)
    return Generated(whole, all(one.ended for one in found), scores, tuple(found), _again(query, texts))


def _again(query: Prompt, texts: Sequence[str]) -> Prompt | None:
    """The prompt with the answers to its pieces in the place of the text, where that is at most half as long."""
    at = next(index for index, segment in enumerate(query.segments) if segment.long == "pieces")
    joined = "\n".join(text for text in texts if text)
    if not joined or 2 * len(joined) > len(query.segments[at].text):
        return None
    return replace(query, segments=(*query.segments[:at], Segment(joined, "pieces"), *query.segments[at + 1 :]))


def stopper(stops: Sequence[str], target: Tokenizer) -> Callable[[Sequence[int]], bool]:
    """Whether the text of some tokens has one of the strings in it."""

    def stop(ids: Sequence[int]) -> bool:
        text = target.decode(ids)
        return any(string in text for string in stops)

    return stop
