"""How a model is asked. An objective knows tokens and tensors, and nothing of what the data mean."""

from nlpipe.objectives.base import Objective
from nlpipe.objectives.sequence_label import SequenceLabel

__all__ = ["OBJECTIVES", "Objective", "SequenceLabel"]

OBJECTIVES: dict[str, type[Objective]] = {kind.__name__: kind for kind in (SequenceLabel,)}
"""The core's objectives by name, as a Card and `model.objective` write them."""
