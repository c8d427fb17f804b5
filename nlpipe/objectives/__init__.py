"""How a model is asked. An objective knows tokens and tensors, and nothing of what the data mean."""

from nlpipe.objectives.answer_span import AnswerSpan
from nlpipe.objectives.base import Objective
from nlpipe.objectives.causal_text import CausalText
from nlpipe.objectives.embedding import Embedding
from nlpipe.objectives.seq2seq_text import Seq2SeqText
from nlpipe.objectives.sequence_label import SequenceLabel
from nlpipe.objectives.token_label import TokenLabel

__all__ = [
    "OBJECTIVES",
    "AnswerSpan",
    "CausalText",
    "Embedding",
    "Objective",
    "Seq2SeqText",
    "SequenceLabel",
    "TokenLabel",
]

OBJECTIVES: dict[str, type[Objective]] = {
    kind.__name__: kind for kind in (AnswerSpan, CausalText, Embedding, Seq2SeqText, SequenceLabel, TokenLabel)
}
"""The core's objectives by name, as a Card and `model.objective` write them."""
