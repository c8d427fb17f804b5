"""Which rows a share of a training set takes. Pure: knows classes and positions, no rows and no files."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence


def share_out(classes: Sequence[str | None], shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """The positions (0-based, ascending) that each share takes, by its name; the rest stays in training.

    `classes[i]` is row i's class. A share s takes s of every class, rounded by largest remainders to
    round(s · rows) in all, ties drawn by `seed`, and leaves each class at least one row. Names are served
    in alphabetical order, so `test` does not depend on `validation`.
    """
    free: dict[str | None, list[int]] = {}
    for position, kind in enumerate(classes):
        free.setdefault(kind, []).append(position)
    sizes = {kind: len(members) for kind, members in free.items()}
    taken: dict[str, list[int]] = {}
    for name, share in sorted(shares.items()):
        rng = random.Random(f"{seed} {name}")
        counts = _counts(sizes, {kind: len(members) - 1 for kind, members in free.items()}, share, rng)
        drawn = {p for kind, members in free.items() for p in rng.sample(members, counts[kind])}
        free = {kind: [p for p in members if p not in drawn] for kind, members in free.items()}
        taken[name] = sorted(drawn)
    return taken


def _counts(
    sizes: Mapping[str | None, int], limits: Mapping[str | None, int], share: float, rng: random.Random
) -> dict[str | None, int]:
    """How many rows of each class: `share` of its size by largest remainders, within its limit."""
    quotas = {kind: size * share for kind, size in sizes.items()}
    counts = {kind: min(int(quota), limits[kind]) for kind, quota in quotas.items()}
    missing = round(share * sum(sizes.values())) - sum(counts.values())
    kinds = list(quotas)
    rng.shuffle(kinds)  # ties fall to chance, not to the first classes of the file; the sort keeps their order
    for kind in sorted(kinds, key=lambda kind: int(quotas[kind]) - quotas[kind]):
        if missing > 0 and counts[kind] < limits[kind]:
            counts[kind] += 1
            missing -= 1
    return counts
