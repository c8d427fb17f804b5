"""A conversation remembers what was said, and what could not be answered is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nlpipe import DataError
from nlpipe.results import Text
from nlpipe_generation import Conversation


class Parrot:
    """Answers with how many turns it was given, and refuses what is empty."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, inputs: Any, **options: Any) -> Text:
        self.asked.append((inputs, options))
        if not inputs["messages"][-1]["content"]:
            raise DataError("nothing was said")
        return Text(f"turn {len(inputs['messages'])}", True, -1.0)

    def stream(self, value: Any, **options: Any) -> Iterator[str]:
        text = self(value, **options).text
        yield from (text[:4], text[4:])


def test_each_turn_is_asked_with_those_before_it() -> None:
    pipe = Parrot()
    chat = Conversation(pipe, system="Be kind.")
    assert chat.say("one", temperature=0.5).text == "turn 2"
    assert chat.say("two").text == "turn 4"
    (first, options), (second, _) = pipe.asked
    assert [turn["role"] for turn in first["messages"]] == ["system", "user"] and options == {"temperature": 0.5}
    assert [turn["content"] for turn in second["messages"]] == ["Be kind.", "one", "turn 2", "two"]
    again = Conversation(pipe, messages=chat.messages)
    again.say("three")
    assert len(pipe.asked[-1][0]["messages"]) == 6 and len(chat.messages) == 5


def test_what_failed_is_forgotten() -> None:
    chat = Conversation(Parrot())
    chat.say("one")
    before = list(chat.messages)
    with pytest.raises(DataError):
        chat.say("")
    assert chat.messages == before


def test_a_stream_is_remembered_as_far_as_it_was_read() -> None:
    chat = Conversation(Parrot())
    assert "".join(chat.stream("one")) == "turn 1"
    assert chat.messages[-1] == {"role": "assistant", "content": "turn 1"}
    stream = chat.stream("two")
    assert next(stream) == "turn"
    stream.close()  # type: ignore[attr-defined]
    assert chat.messages[-1]["content"] == "turn" and len(chat.messages) == 4
