"""BLEU, chrF and TER of translations, with the tokenizer that the language asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nlpipe.errors import UnsupportedError
from nlpipe.metrics_text import bleu, chrf, ter

if TYPE_CHECKING:
    from nlpipe_translation.translating import Translated

log = logging.getLogger("nlpipe")

# sacreBLEU's own choice by language (`BLEU._TOKENIZER_MAP`), under the codes that data and models give.
_BY_LANGUAGE = {"zh": "zh", "zho": "zh", "ja": "ja-mecab", "jpn": "ja-mecab", "ko": "ko-mecab", "kor": "ko-mecab"}
_PACKAGES = {"ja-mecab": ("MeCab", "sacrebleu[ja]"), "ko-mecab": ("mecab_ko", "sacrebleu[ko]")}


def references(example: Translated) -> Sequence[str]:
    """All right translations."""
    return example.references


def tokenizer(wanted: str, language: str | None) -> Callable[[Sequence[Translated]], str]:
    """Names the tokenizer for rows: the one that is wanted; `auto`: as their language asks, else 13a.

    Without its package, `auto` takes characters in place of MeCab's words. Raises UnsupportedError where a tokenizer
    was named and its package is missing.
    """

    def name(examples: Sequence[Translated]) -> str:
        if wanted != "auto":
            return _there(wanted)
        languages = {example.target_lang or language for example in examples}
        code = (languages.pop() or "") if len(languages) == 1 else ""
        return _usual(code.lower().replace("-", "_").partition("_")[0])

    return name


def _there(wanted: str) -> str:
    package, extra = _PACKAGES.get(wanted, ("", ""))
    if package and find_spec(package) is None:
        raise UnsupportedError(f"task.tokenize: {wanted} needs MeCab: pip install '{extra}', or take char")
    return wanted


@cache
def _usual(language: str) -> str:
    found = _BY_LANGUAGE.get(language, "13a")
    package, extra = _PACKAGES.get(found, ("", ""))
    if package and find_spec(package) is None:
        log.warning("BLEU of %s counts characters here; for %s: pip install '%s'", language, found, extra)
        return "char"
    return found


def scores(wanted: str = "auto", language: str | None = None, *, lowercase: bool = False) -> tuple[Any, ...]:
    """BLEU, chrF and TER."""
    counted = bleu(references, lowercase=lowercase, tokenize=tokenizer(wanted, language))
    return counted, chrf(references, lowercase=lowercase), ter(references)


BLEU, CHRF, TER = scores()
CHRF_WORDS = chrf(references, words=2)
