"""The script and the language that a text is written in. The one door to py3langid, which is loaded late.

The script is read off the letters and is certain. The language is a guess: py3langid (Lui and Baldwin 2012, retrained
for 139 languages) by its own model file, without a network; where it gives no language a probability of one half,
as of a few words, the answer is none.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache
from importlib.util import find_spec
from typing import Any

from nlpipe.errors import UnsupportedError

SCRIPT_SHARE = 0.5  # a text is of a script if half of its letters are
SURE = 0.5  # the least probability by which a text is said to be of a language

# The first words of letters' names that stand for one script, or for one language's mixture of them.
_SCRIPTS = {"Hiragana": "Japanese", "Katakana": "Japanese", "Fullwidth": "Latin", "Modifier": "Latin", "Cjk": "Han"}


def script(text: str) -> str:
    """The script of half the letters or more, by the first word of their Unicode names; empty where there is none."""
    counts: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if name := _of_letter(letter):
            counts[name] += count
    if not counts:
        return ""
    found, count = counts.most_common(1)[0]
    return found if count >= SCRIPT_SHARE * counts.total() else "mixed"


@cache
def _of_letter(letter: str) -> str:
    """The script of a letter; empty for what is none."""
    name = unicodedata.name(letter, "").partition(" ")[0].capitalize() if letter.isalpha() else ""
    return _SCRIPTS.get(name, name)


def known() -> bool:
    """Whether languages can be told apart here: whether py3langid is installed."""
    return find_spec("py3langid") is not None


def language(text: str) -> str:
    """The ISO 639 code of the text's language; empty where it cannot be told.

    Raises UnsupportedError without py3langid.
    """
    code, chance = _identifier().classify(text)
    return code if chance >= SURE and code not in {"und", "zxx"} else ""


@cache
def _identifier() -> Any:
    if not known():
        raise UnsupportedError(
            "telling languages apart needs py3langid: pip install 'nlpipe[language]'. `script` needs nothing"
        )
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
