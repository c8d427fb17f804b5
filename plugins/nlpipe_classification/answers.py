"""Labels as others answer with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def likeliest(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer of probabilities, a mapping or a list of {label, score}, with the likeliest label."""
    given = cells.get("scores", cells.get("label"))
    if (
        isinstance(given, list)
        and given
        and all(isinstance(one, Mapping) and {"label", "score"} <= {*one} for one in given)
    ):
        given = {one["label"]: one["score"] for one in given}
    if not (isinstance(given, Mapping) and given and all(isinstance(value, int | float) for value in given.values())):
        return cells
    if isinstance(cells.get("label"), str | int) or "labels" in cells:
        return {**cells, "scores": given}
    best = max(given, key=given.__getitem__)
    return {**cells, "label": best, "score": given[best], "scores": given}
