"""What all views give back: a frozen result that goes to JSON, to a terminal and to one HTML page.

No model, no torch; each view's own file says what it holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import Any, ClassVar

import numpy as np

from nlpipe.errors import DataError

PICTURE = 200
"""The most tokens (or words) that a picture draws; more could not be told apart. The result itself has them all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The base of every view. `model` is the name it was asked for by, `notes` what a reader should know."""

    what: ClassVar[str]

    model: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, arrays as nested lists; what is not a number (nan, infinite) is None."""
        return {"what": self.what, **plain(self)}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @property
    def size(self) -> int:
        """How many tokens (or words) there are to be shown."""
        raise NotImplementedError

    def picture(self, first: int) -> dict[str, Any]:
        """What a page draws, as JSON values: up to PICTURE tokens from the first (counted from 1)."""
        raise NotImplementedError

    def check_first(self, first: int) -> None:
        """Raise DataError where there is no token of this number, counted from 1."""
        if not 1 <= first <= max(self.size, 1):
            raise DataError(f"first is {first}, and there are {self.size} tokens or words to show, counted from 1")

    def to_html(self, *, first: int = 1) -> str:
        """One self-contained page: no network, no font, no script from elsewhere.

        `first` is the first token (from 1) that pictures of long texts show. Raises DataError where it is
        beyond the text.
        """
        from nlpipe.inspect.html import page

        self.check_first(first)
        return page(self.what, self.model, self.notes, self.picture(first))

    def _repr_html_(self) -> str:
        """For notebooks: the page in a frame of its own, so that its styles stay inside."""
        return f'<iframe srcdoc="{escape(self.to_html())}" style="width:100%;height:640px;border:0"></iframe>'


def plain(value: Any) -> Any:
    """A dataclass, mapping, sequence or array as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            finite = np.isfinite(value)
            value = value.astype(object)
            value[~finite] = None
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
