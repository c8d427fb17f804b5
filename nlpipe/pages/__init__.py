"""The frame of every page that we write: one file with its styles, script and data inside; it asks no network."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

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
<header>{header}</header>
{main}
{script}</body>
</html>
"""


def page(title: str, *, style: str, header: str, main: str, script: str = "", data: Any = None) -> str:
    """The whole page. `style` is added to the styles that all pages share; `header` and `main` are HTML.

    `script` finds `data` as JSON in the element of the id `data`.
    """
    scripts = (
        f'<script type="application/json" id="data">{_embedded(data)}</script>\n<script>{script}</script>\n'
        if script
        else ""
    )
    return _PAGE.format(title=escape(title), style=_shared() + style, header=header, main=main, script=scripts)


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _shared() -> str:
    return (files("nlpipe.pages") / "shared.css").read_text(encoding="utf-8")
