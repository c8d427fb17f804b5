"""A view's picture as one self-contained page: styles, script and data inline. Knows no view by its fields."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from nlpipe import pages

HEADINGS = {
    "tokens": "What the text is cut into",
    "embeddings": "Words as vectors",
    "positions": "How the model knows the order",
    "attention": "Which tokens look at which",
    "next": "What comes next",
    "objective": "What training makes of the text",
    "why": "What the answer rests on",
}


def page(what: str, model: str, notes: Iterable[str], picture: Mapping[str, Any]) -> str:
    """The page of a view's picture."""
    heading = HEADINGS[what]
    said = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return pages.page(
        f"{heading} · {model}",
        style=_asset("page.css"),
        header=f'<h1>{escape(heading)}</h1><p class="quiet">{escape(model)}</p>',
        main=f'{said}\n<main id="view"></main>',
        script=f"{_asset('page.js')}\n{_asset(what + '.js')}",
        data=picture,
    )


def packed(values: Any) -> dict[str, Any]:
    """Numbers from 0 to 1 as bytes in base64 with their shape: a page with all heads stays a few megabytes."""
    rounded = np.clip(np.rint(np.asarray(values) * 255), 0, 255).astype(np.uint8)
    return {"shape": rounded.shape, "bytes": base64.b64encode(rounded.tobytes()).decode()}


def packed_floats(values: Any) -> str:
    """Numbers as little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


@cache
def _asset(name: str) -> str:
    return (files("nlpipe.inspect") / "page" / name).read_text(encoding="utf-8")
