"""A conversation with a model: each turn is answered in the knowledge of those before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nlpipe.results import Text


class Pipe(Protocol):
    """A pipeline of the task `generation`."""

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """The answer to one conversation."""
        ...

    def stream(self, value: Any, **options: Any) -> Iterator[str]:
        """The same in pieces of text."""
        ...


class Conversation:
    """What was said so far, and the pipeline that answers.

    `messages` are the turns, as the task `generation` takes them; they may be read, stored and given to another
    Conversation. What outgrows the model is refused, or forgotten from the oldest turn on with `long="truncate"` of
    the pipeline. Not to be shared between threads: a conversation has one turn at a time.
    """

    def __init__(self, pipe: Pipe, *, system: str | None = None, messages: list[dict[str, str]] | None = None) -> None:
        self.pipe = pipe
        self.messages: list[dict[str, str]] = list(messages or [])
        if system is not None and not self.messages:
            self.messages.append({"role": "system", "content": system})

    def say(self, text: str, **options: Any) -> Text:
        """The answer to `text`; both are remembered. What cannot be answered is not."""
        turns = [*self.messages, {"role": "user", "content": text}]
        found: Text = self.pipe({"messages": turns}, **options)
        self.messages = [*turns, {"role": "assistant", "content": found.text}]
        return found

    def stream(self, text: str, **options: Any) -> Iterator[str]:
        """The same in pieces; of an answer whose reader stops early, what was read is remembered."""
        turns = [*self.messages, {"role": "user", "content": text}]
        pieces = self.pipe.stream({"messages": turns}, **options)

        def told() -> Iterator[str]:
            said: list[str] = []
            try:
                for piece in pieces:
                    said.append(piece)
                    yield piece
            finally:
                if said:
                    self.messages = [*turns, {"role": "assistant", "content": "".join(said).strip()}]

        return told()
