"""How a model is asked. An objective knows tokens and tensors, and nothing of what the data mean."""

from nlpipe.objectives.answer_span import AnswerSpan, Extracts
from nlpipe.objectives.base import (
    Answer,
    Batch,
    Blanked,
    Filling,
    Fillings,
    Generated,
    Gold,
    Likelihoods,
    Message,
    Objective,
    Passage,
    Probabilities,
    Prompt,
    Query,
    Raw,
    Row,
    Segment,
    Text,
    TextLikelihood,
    Texts,
    Vectors,
    Window,
    Words,
    WordScores,
    parts,
)
from nlpipe.objectives.causal_text import CausalText
from nlpipe.objectives.embedding import Embedding
from nlpipe.objectives.entailment import Entailed, Entailment
from nlpipe.objectives.masked_text import MaskedText
from nlpipe.objectives.seq2seq_text import Seq2SeqText
from nlpipe.objectives.sequence_label import SequenceLabel
from nlpipe.objectives.token_label import TokenLabel

__all__ = [
    "OBJECTIVES",
    "Answer",
    "AnswerSpan",
    "Batch",
    "Blanked",
    "CausalText",
    "Embedding",
    "Entailed",
    "Entailment",
    "Extracts",
    "Filling",
    "Fillings",
    "Generated",
    "Gold",
    "Likelihoods",
    "MaskedText",
    "Message",
    "Objective",
    "Passage",
    "Probabilities",
    "Prompt",
    "Query",
    "Raw",
    "Row",
    "Segment",
    "Seq2SeqText",
    "SequenceLabel",
    "Text",
    "TextLikelihood",
    "Texts",
    "TokenLabel",
    "Vectors",
    "Window",
    "WordScores",
    "Words",
    "parts",
]

_KINDS = (AnswerSpan, CausalText, Embedding, Entailment, MaskedText, Seq2SeqText, SequenceLabel, TokenLabel)

OBJECTIVES: dict[str, type[Objective]] = {kind.__name__: kind for kind in _KINDS}
"""The core's objectives by name, as a Card and `model.objective` write them."""
