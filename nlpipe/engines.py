"""Which engine answers the rows of a file, by its name."""

from __future__ import annotations

from nlpipe.errors import UnsupportedError, suggest
from nlpipe.predicting import Chosen, Engine, locally


def engine(name: str, found: Chosen, workers: int = 1) -> Engine:
    """What answers: `local`, or `ray` with so many models. Raises UnsupportedError where it is not installed."""
    if name == "local":
        if workers > 1:
            raise UnsupportedError("--workers goes with --engine ray; here PyTorch's threads share the work")
        return locally
    if name != "ray":
        raise UnsupportedError(f"unknown engine {name!r}; {suggest(name, ('local', 'ray'))}")
    from nlpipe import ray_data

    return ray_data.engine(found, workers)
