"""A view's picture as one self-contained page: styles, script and data inline. Knows no view by its fields."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{heading}</h1><p class="model">{model}</p></header>
{notes}
<main id="view"></main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""

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
    return _PAGE.format(
        title=escape(f"{heading} · {model}"),
        heading=escape(heading),
        model=escape(model),
        notes="".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        style=_asset("page.css"),
        script=f"{_asset('page.js')}\n{_asset(what + '.js')}",
        data=_embedded(picture),
    )


def packed(values: Any) -> dict[str, Any]:
    """Numbers from 0 to 1 as bytes in base64 with their shape: a page with all heads stays a few megabytes."""
    rounded = np.clip(np.rint(np.asarray(values) * 255), 0, 255).astype(np.uint8)
    return {"shape": rounded.shape, "bytes": base64.b64encode(rounded.tobytes()).decode()}


def packed_floats(values: Any) -> str:
    """Numbers as little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _asset(name: str) -> str:
    return (files("nlpipe.inspect") / "page" / name).read_text(encoding="utf-8")
