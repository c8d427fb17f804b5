"""Pages and terminal renderings: whole, self-contained, and honest about what they leave out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nlpipe import inspect
from nlpipe.errors import DataError
from nlpipe.inspect import VIEWS, Subject, command
from nlpipe.inspect.html import packed, packed_floats

TEXT = "The bark of the tree, said the dog."
SEVEN = ("bert", "roberta", "gpt2", "llama", "bloom", "t5", "bart")
# `why` has its own models; the others work on every architecture, and on these seven all are tried.
cases = [(what, architecture) for what in VIEWS[:-1] for architecture in SEVEN]


def data_of(page: str) -> Any:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]


def text_of(view: Any, width: int = 80, first: int = 1) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(command.render(view, first=first))
    return console.export_text()


@pytest.mark.parametrize(("what", "architecture"), cases)
def test_every_view_of_every_kind_of_model(subject: Callable[[str], Subject], what: str, architecture: str) -> None:
    view = getattr(inspect, what)(subject(architecture), TEXT)
    assert json.loads(view.to_json()) == json.loads(json.dumps(view.to_dict()))
    assert view.to_dict()["what"] == what
    page = view.to_html()
    assert data_of(page) == json.loads(json.dumps(view.picture(1)))
    said = text_of(view)
    assert max(len(line) for line in said.splitlines()) <= 80
    written = what == "next" and subject(architecture).config.is_encoder_decoder  # shows what it writes, not the text
    word = "the first token" if written else "tree"
    assert word in said
    assert word in page


@pytest.mark.parametrize("what", VIEWS[:-1])
def test_a_page_needs_nothing_from_elsewhere(subject: Callable[[str], Subject], what: str) -> None:
    page = getattr(inspect, what)(subject("bert"), TEXT).to_html()
    links = re.findall(r"""(?:src|href|srcset|action)\s*=|url\(|@import|\bimport\b|fetch\(|XMLHttp|WebSocket""", page)
    assert not links
    assert set(re.findall(r"https?://[^\s\"']+", page)) <= {"http://www.w3.org/2000/svg"}, "a namespace, not an address"
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_a_text_cannot_break_out_of_the_page(subject: Callable[[str], Subject]) -> None:
    wicked = "</script><img src=x onerror=alert(1)><!-- the tree"
    for what in ("tokens", "attention", "objective"):
        page = getattr(inspect, what)(subject("bert"), wicked).to_html()
        assert page.count("</script>") == 2
        assert "<img" not in page
        assert "<!--" not in page
    assert data_of(inspect.tokens(subject("bert"), wicked).to_html())["text"] == wicked


def test_weights_travel_as_bytes() -> None:
    values = np.array([[0.0, 0.5, 1.0], [0.25, 1 / 255, 2.0]])
    found = packed(values)
    assert found["shape"] == (2, 3)
    assert list(base64.b64decode(found["bytes"])) == [0, 128, 255, 64, 1, 255]
    assert np.frombuffer(base64.b64decode(packed_floats([1.5, -2])), "<f4").tolist() == [1.5, -2]


def test_numbers_that_are_none_are_null(subject: Callable[[str], Subject]) -> None:
    found = inspect.next(subject("gpt2"), TEXT, steps=0).to_dict()
    assert found["surprise"]["bits"][0] is None
    assert found["surprise"]["bits"][1] > 0


def test_what_is_shown_of_a_long_text_is_said(minilm: Subject) -> None:
    """More than two hundred tokens are too many for a picture; the result has them all."""
    view = inspect.attention(minilm, "the tree " * 150)
    assert view.parts[0].weights.shape == (6, 12, 302, 302)
    part = data_of(view.to_html())["parts"][0]
    assert (len(part["rows"]), part["of_rows"], part["shape"]) == (200, 302, [6, 12])
    assert len(base64.b64decode(part["weights"]["bytes"])) == 6 * 12 * 200 * 200
    later = data_of(view.to_html(first=151))
    assert (later["first"], len(later["parts"][0]["rows"])) == (151, 152)
    weights = np.frombuffer(base64.b64decode(later["parts"][0]["weights"]["bytes"]), np.uint8).reshape(6, 12, 152, 152)
    np.testing.assert_allclose(weights / 255, view.parts[0].weights[:, :, 150:, 150:], atol=0.5 / 255 + 1e-6)
    assert re.search(r"tokens across 1–\d+ of 302", text_of(view))
    assert "tokens down 1–48 of 302" in text_of(view)
    assert "tokens across 301–302 of 302" in text_of(view, first=301)
    assert "tokens 1–64 of 302" in text_of(inspect.tokens(minilm, "the tree " * 150))


@pytest.mark.parametrize("first", [0, -3])
def test_tokens_are_counted_from_one(subject: Callable[[str], Subject], first: int) -> None:
    with pytest.raises(DataError, match=f"first is {first}, and there are"):
        inspect.attention(subject("bert"), TEXT).to_html(first=first)


def test_a_first_token_beyond_the_text(subject: Callable[[str], Subject]) -> None:
    view = inspect.attention(subject("bert"), TEXT)
    with pytest.raises(DataError, match="first is 99"):
        view.to_html(first=99)
    with pytest.raises(DataError, match="first is 99"):
        text_of(view, first=99)


def test_shades_follow_the_numbers() -> None:
    from nlpipe.inspect.terminal.drawing import Heat

    console = Console(width=40, record=True, file=StringIO())
    console.print(Heat(np.array([[0.0, 0.3], [0.6, 1.0]]), ["a", "b"], ["x", "y"], (0.2, 0.4, 0.6, 0.8), 1, "token"))
    assert console.export_text().splitlines()[1:3] == ["a   ░░", "b ▓▓██"]


def test_a_narrow_terminal_is_enough(subject: Callable[[str], Subject]) -> None:
    for what in VIEWS[:-1]:
        said = text_of(getattr(inspect, what)(subject("t5"), TEXT), width=40)
        assert max(len(line) for line in said.splitlines()) <= 40


def test_notebooks_get_the_page_in_a_frame(subject: Callable[[str], Subject]) -> None:
    frame = inspect.tokens(subject("bert"), TEXT)._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert "<script" not in frame, "everything inside is escaped"
