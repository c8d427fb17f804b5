"""Whether two answers are the same, number by number, and in words what differs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

TOLERANCE = 1e-4  # float32 sums in another order; measured on the tiny models: up to 3e-5


def difference(one: Any, other: Any, tolerance: float = TOLERANCE, path: str = "") -> str | None:
    """Where the plain values of two results first differ, or None.

    Numbers may differ by `tolerance`, those beyond 1 by that share of themselves.
    """
    if hasattr(one, "to_dict") and hasattr(other, "to_dict"):
        one, other = one.to_dict(), other.to_dict()
    if isinstance(one, float) and isinstance(other, float | int):
        close = math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        same = close or (math.isnan(one) and math.isnan(other))
        return None if same else f"{path or 'value'}: {one!r} and {other!r}"
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        found = (difference(one[key], other[key], tolerance, f"{path}.{key}".lstrip(".")) for key in one)
        return next(filter(None, found), None)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(a, b, tolerance, f"{path}[{at}]") for at, (a, b) in pairs)), None)
    return None if one == other else f"{path or 'value'}: {one!r} and {other!r}"


def differences(ones: Sequence[Any], others: Sequence[Any], asked: Sequence[Any], tolerance: float = TOLERANCE) -> str:
    """Up to three inputs whose answers differ, with where; empty for none."""
    if len(ones) != len(others):
        return f"{len(ones)} answers and {len(others)}"
    found = [
        f"  {short(given)}\n    {apart}"
        for given, one, other in zip(asked, ones, others, strict=True)
        if (apart := difference(one, other, tolerance))
    ]
    more = f"\n  … and {len(found) - 3} more" if len(found) > 3 else ""
    return "\n".join(found[:3]) + more


def short(value: Any, width: int = 100) -> str:
    """A value as a message shows it."""
    text = repr(value if not hasattr(value, "model_dump") else value.model_dump(exclude_none=True))
    return text if len(text) <= width else text[: width - 1] + "…"


def plain(value: Any) -> Any:
    """An Answer's fields as plain values."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
