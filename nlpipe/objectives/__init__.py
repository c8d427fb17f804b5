"""How a model is asked. An objective knows tokens and tensors, and nothing of what the data mean."""

from nlpipe.objectives.base import Objective
from nlpipe.objectives.embedding import Embedding
from nlpipe.objectives.sequence_label import SequenceLabel
from nlpipe.objectives.token_label import TokenLabel

__all__ = ["OBJECTIVES", "Embedding", "Objective", "SequenceLabel", "TokenLabel"]

OBJECTIVES: dict[str, type[Objective]] = {kind.__name__: kind for kind in (Embedding, SequenceLabel, TokenLabel)}
"""The core's objectives by name, as a Card and `model.objective` write them."""
