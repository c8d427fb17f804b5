"""Codes of languages, compared: what a model that is told no language may be asked for. No text, no tokens."""

from __future__ import annotations

from nlpipe.errors import DataError
from nlpipe.objectives.base import Prompt

Languages = tuple[str | None, str | None]
"""Of the source and of the target."""

_SIDES = ("source_lang", "target_lang")


def require(query: Prompt, stated: Languages, *, learnt: bool) -> None:
    """Raise DataError where a prompt is in other languages than a model that is told none.

    What that model knows is `stated` by its own files (Marian), or was `taught` to it. To be learnt, a language must be
    known to be that of all rows: the model could not tell which to write.
    """
    asked, taught = query.languages or (None, None), query.taught or (None, None)
    for side, ours, known, seen in zip(_SIDES, asked, stated, taught, strict=True):
        if other := next((one for one in (known, seen) if differ(ours, one)), None):
            raise DataError(
                f"`{side}` is {ours!r}, and this model, which is told no language, knows {other!r}; leave the row out, "
                f"take a model of {ours!r}, or set task.codes: false to leave languages out of account"
            )
        if learnt and ours and query.taught is not None and seen is None and side == _SIDES[1]:
            raise DataError(
                f"`{side}` is {ours!r} here and another in other rows, and this model is told no language, so that it "
                f"could not know which to write: name {{{side}}} in task.template (decoders: task.decoder_template), "
                "take a model that has tokens for languages (mBART, M2M100, NLLB), or keep the rows of one"
            )


def differ(one: str | None, other: str | None) -> bool:
    """Whether two codes surely name different languages: both are written in the same form, and not alike.

    `de_DE`, `DE` and `de` are alike, `de` and `fr` differ; of `de` beside `fra` or `German` nothing is known.
    """
    ours, theirs = (_bare(code) for code in (one, other))
    return bool(ours and theirs) and min(len(ours), 4) == min(len(theirs), 4) and ours != theirs


def _bare(code: str | None) -> str:
    """`eng` of `eng_Latn`: the language without its script and country."""
    return (code or "").lower().replace("-", "_").partition("_")[0]
