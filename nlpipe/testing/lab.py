"""Where models are made and trained for checks, each once: a folder, and what lies in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from nlpipe.testing.tiny import tiny_model

Made = TypeVar("Made")


class Lab:
    """One session's models and trainings, kept in `folder`; whatever is asked for twice is made once.

    Not shared between processes: cases of one `group` belong into one. What could not be made is not tried
    again: each check that needs it fails with the same error.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[Hashable, Any] = {}
        self._failed: dict[Hashable, Exception] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made at the first call with this key."""
        if key in self._failed:
            raise self._failed[key]
        if key not in self._made:
            try:
                self._made[key] = make()
            except Exception as error:
                self._failed[key] = error
                raise
        made: Made = self._made[key]
        return made

    def place(self, name: str) -> Path:
        """A path in the folder that nothing has yet."""
        at = len(list(self.folder.iterdir())) if self.folder.exists() else 0
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{at:04d}-{name}"

    def tiny(self, architecture: str, words: tuple[str, ...], positions: int) -> Path:
        """A tiny random base checkpoint (nlpipe.testing.tiny) that knows these words, in a folder of its name."""

        def make() -> Path:
            logging.getLogger("nlpipe").debug("making a tiny %s", architecture)
            return tiny_model(architecture, self.place(architecture) / architecture, words=words, positions=positions)

        return self.once(("tiny", architecture, words, positions), make)
