"""Pipelines as transformers 4 had them: change one import, and code that transformers 5 broke works again.

    from nlpipe.compat import pipeline          # was: from transformers import pipeline

The names, arguments and answers are version 4's (docs/compat.md has every difference); models, windows, batches and
checks are nlpipe's. For new code nlpipe's own pipelines are the better choice: their results are typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpipe.compat.base import Pipeline
    from nlpipe.compat.making import pipeline

__all__ = ["Pipeline", "pipeline"]

_LATE = {"Pipeline": "base", "pipeline": "making"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'nlpipe.compat' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"nlpipe.compat.{_LATE[name]}"), name)
    globals()[name] = value
    return value
