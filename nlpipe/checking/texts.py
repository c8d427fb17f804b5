"""What is odd about the texts themselves: nothing in them, characters that went wrong on the way, other scripts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nlpipe import languages
from nlpipe.checking.findings import SHOWN, Finding, Level, rows, shortened
from nlpipe.checking.views import View

# UTF-8 read as Latin-1 or Windows-1252: a lead byte shown as a letter, then a continuation byte as a sign.
_MOJIBAKE = re.compile("[ÂÃ][\u0080-\u00bf]|â€[\u0099\u009c\u009d™œ\u2018-\u201d¦“”]|ï»¿")
_HTML = re.compile(r"</?(?:br|p|div|span|a|b|i|em|strong|li|ul|td|tr|table)\b[^<>]*>|&(?:[a-z]{2,8}|#\d{2,6});", re.I)
# What tokenizers mean by these is not what a text that quotes them means.
_SPECIAL = re.compile(r"\[(?:CLS|SEP|PAD|MASK|UNK)\]|</?s>|<(?:pad|unk|mask|eos|bos)>|<\|[a-z_]+\|>")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Oddity:
    """What may be wrong with a text's characters, how it is seen, and what to do."""

    kind: str
    what: str
    advice: str
    there: Callable[[str], object]
    level: Level = "warning"


ODDITIES = (
    Oddity(
        "replacement characters",
        "U+FFFD, which stands for bytes that were lost",
        "read the source again with its own encoding",
        lambda text: "\ufffd" in text,
    ),
    Oddity(
        "mojibake",
        "what looks like UTF-8 read as Latin-1 (such as Ã© for é)",
        "decode the source as UTF-8",
        _MOJIBAKE.search,
    ),
    Oddity("control characters", "control characters", "remove them; they are no text", _CONTROL.search),
    Oddity(
        "markup", "HTML tags or entities", "turn them into text, unless users will send such texts too", _HTML.search
    ),
    Oddity(
        "invisible characters",
        "zero-width or direction marks",
        "remove them where no script needs them",
        _INVISIBLE.search,
        "note",
    ),
    Oddity(
        "special tokens",
        "what a tokenizer takes for a token of its own",
        "they are read as plain text; look whether they are meant",
        _SPECIAL.search,
        "note",
    ),
    Oddity(
        "decomposed accents",
        "letters not in Unicode's composed form (NFC)",
        "normalise them, if users' texts are composed",
        lambda text: not unicodedata.is_normalized("NFC", text),
        "note",
    ),
)

FEW = 5  # rows of a language that are more than a wrong guess


def empty(split: str, views: Sequence[View]) -> Iterator[Finding]:
    """Rows with a field of nothing but space."""
    for name in dict.fromkeys(name for view in views for name in view.fields):
        hit = [view for view in views if name in view.fields and not view.fields[name].strip()]
        if hit:
            yield Finding(
                "warning", "empty", split, len(hit), f"{rows(len(hit))} with an empty {name}",
                "leave them out, unless users will send empty ones too", rows=tuple(view.number for view in hit),
            )  # fmt: skip


def odd(split: str, views: Sequence[View]) -> Iterator[Finding]:
    """Rows with characters that are rarely meant."""
    for one in ODDITIES:
        hit = [view for view in views if any(one.there(text) for text in view.fields.values())]
        if hit:
            what = f"{rows(len(hit))} with {one.what}"
            yield Finding(one.level, one.kind, split, len(hit), what, one.advice, _shown(hit), _numbers(hit))


def scripts(split: str, views: Sequence[View]) -> Iterator[Finding]:
    """The scripts that the rows are written in, where they are several."""
    yield from _mixture(split, views, "scripts", languages.script, "see that the backbone reads these scripts")


def mixed_languages(split: str, views: Sequence[View]) -> Iterator[Finding]:
    """The languages that the rows are written in, where they are several and can be told apart.

    Of a language fewer than `FEW` rows and one in a hundred are more likely guessed wrongly than there.
    """
    if languages.known():
        yield from _mixture(
            split, views, "languages", languages.language, "see that the backbone knows these languages", FEW, 0.01
        )


def _mixture(
    split: str,
    views: Sequence[View],
    kind: str,
    of: Callable[[str], str],
    advice: str,
    least: int = 1,
    share: float = 0.0,
) -> Iterator[Finding]:
    found = {view.number: of(view.text) for view in views}
    counts = Counter(name for name in found.values() if name)
    (usual, most), *others = counts.most_common() or [("", 0)]
    there = {name: count for name, count in others if count >= max(least, share * len(views))}
    if there:
        hit = [view for view in views if found[view.number] in there]
        told = ", ".join(f"{name} {count:,}" for name, count in there.items())
        yield Finding(
            "note", kind, split, len(hit), f"most rows are {usual} ({most:,}), others: {told}", advice,
            _shown(hit), _numbers(hit),
        )  # fmt: skip


def _shown(views: Sequence[View]) -> tuple[str, ...]:
    return tuple(f"row {view.number}: {shortened(view.text)}" for view in views[:SHOWN])


def _numbers(views: Sequence[View]) -> tuple[int, ...]:
    return tuple(view.number for view in views)
